"""What a cluster consists of. One function per component says how it is started and when it is ready; a further one
is one more function and one more entry in `COMPONENTS`. Those that Pods need are in `nodes.py`."""

import base64
import json
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import network
from controllers import chosen
from node import Inside, Node
from processes import tied_to_parent

FILES = Path(__file__).resolve().parent / "files"
LOOPBACK = "127.0.0.1"
USER = "certified"  # known by a client certificate, and without any right of its own
PORTS = (
    "etcd", "etcd_peer", "apiserver", "dns", "challtestsrv", "directory", "pebble_management",
    "http", "https", "xds", "contour_metrics", "contour_debug", "contour_health", "envoy_stats", "web",
    "controller_manager", "scheduler",
)
# The first address of the service range is the API server's own.
SERVICE_RANGE, SERVICE_ADDRESS = "10.96.0.0/16", "10.96.0.1"
SERVICE_RANGE6 = "fd00:10:96::/112"
# By `--ip-family`: the ranges of Services' addresses, the first one's family being that of a Service that asks for none.
FAMILIES = {"ipv4": (SERVICE_RANGE,), "dual": (SERVICE_RANGE, SERVICE_RANGE6), "ipv6": (SERVICE_RANGE6,)}
PEBBLE_ENVIRONMENT = {
    "PEBBLE_VA_NOSLEEP": "1",
    "PEBBLE_WFE_NONCEREJECT": "5",  # per cent: a client has to cope with a refused nonce
    "PEBBLE_AUTHZREUSE": "0",
    "PEBBLE_CHAIN_LENGTH": "3",  # a leaf, and as many intermediates as public CAs send today
}


@dataclass
class Cluster:
    """One cluster before it runs: everything that its components have to agree on."""

    name: str
    path: Path
    logs: Path
    binaries: dict
    address: str
    ports: dict
    node: Node | None = None
    controllers: tuple = ()
    front: str | None = None  # the controller to which all names lead; without one, Contour
    ip_family: str = "ipv4"  # of FAMILIES
    address6: str | None = None  # unless that is IPv4 alone
    token: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def server(self):
        return f"https://{LOOPBACK}:{self.ports['apiserver']}"

    @property
    def addresses(self):
        """The controller's, and what every name leads to: one of each family that there is."""
        return [*([] if self.ip_family == "ipv6" else [self.address]), *([self.address6] if self.address6 else [])]

    @property
    def directory(self):
        """Pods reach the authority, too, where there are any."""
        return f"https://{self.address if self.node else LOOPBACK}:{self.ports['directory']}/dir"

    @property
    def entrance(self):
        """The class and the ports of the controller to which all names lead."""
        if self.front:
            return chosen([self.front])[0].describe(self)
        return {"class": "contour", "http_port": self.ports["http"], "https_port": self.ports["https"]}

    def binary(self, name):
        return str(self.binaries[name])

    def file(self, name):
        return str(self.path / name)

    def local(self, port):
        return f"{LOOPBACK}:{self.ports[port]}"

    def describe(self, supervisor_pid):
        """What tests and people get to know (`cluster.json`)."""
        programs = {name: str(path) for name, path in self.binaries.items() if path.suffix != ".yaml"}
        return {
            "name": self.name,
            "supervisor_pid": supervisor_pid,
            "kubeconfig": self.file("kubeconfig"),
            "server": self.server,
            "server_ca": self.file("apiserver-ca.pem"),
            "user": {"name": USER, "certificate": self.file("user.pem"), "key": self.file("user-key.pem")},
            "kubectl": self.binary("kubectl"),
            "bin": programs,
            "address": self.address,
            "address6": self.address6,
            "ip_family": self.ip_family,
            "class": self.entrance["class"],
            "http_port": self.entrance["http_port"],
            "https_port": self.entrance["https_port"],
            "directory": self.directory,
            "directory_ca": self.file("pebble-ca.pem"),
            "pebble_management": f"https://{self.local('pebble_management')}",
            "pebble_config": self.file("pebble.json"),
            "pebble_arguments": pebble_arguments(self),
            "pebble_environment": PEBBLE_ENVIRONMENT,
            "challtestsrv_management": f"http://{self.local('challtestsrv')}",
            "dns": self.local("dns"),
            "web": f"{self.address}:{self.ports['web']}",
            "audit_log": str(self.logs / "audit.log"),
            "pebble_log": str(self.logs / "pebble.log"),
            "logs": str(self.logs),
            "nodes": self.node is not None,
            "controllers": {name: chosen([name])[0].describe(self) for name in self.controllers},
            **(self.node.describe(self) if self.node else {}),
        }


@dataclass
class Component:
    """A process of the cluster. `prepare` runs once all of `needs` are ready, right before the start."""

    name: str
    command: list
    ready: Callable[[], bool]
    needs: tuple = ()
    prepare: Callable[[], None] = lambda: None
    environment: dict = field(default_factory=dict)
    inside: Inside = Inside.MACHINE


def prepare(cluster):
    """Keys, certificates and files that have to be there before anything starts."""
    kubernetes = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", SERVICE_ADDRESS]
    keys = cluster.binary("keys")
    run([keys, "service-account", cluster.file("service-account.key")])
    run([keys, "server", cluster.file("apiserver"), LOOPBACK, cluster.address, *kubernetes])
    run([keys, "client", cluster.file("user"), USER])
    run([keys, "server", cluster.file("pebble"), LOOPBACK, cluster.address, "localhost"])
    Path(cluster.file("tokens.csv")).write_text(f'{cluster.token},admin,admin,"system:masters"\n')
    Path(cluster.file("kubeconfig")).write_text(kubeconfig(cluster, cluster.server))
    Path(cluster.file("pebble.json")).write_text(json.dumps(_pebble_config(cluster), indent=2) + "\n")


def web(cluster):
    """The backend for Ingresses, since without nodes there are no Pods."""
    return Component(
        name="web",
        command=[sys.executable, str(FILES.with_name("web.py")), str(cluster.ports["web"])],
        ready=lambda: ok(network.get(f"http://{cluster.local('web')}/")),
    )


def etcd(cluster):
    client, peer = f"http://{cluster.local('etcd')}", f"http://{cluster.local('etcd_peer')}"
    return Component(
        name="etcd",
        command=[
            cluster.binary("etcd"),
            "--data-dir", cluster.file("etcd"),
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"default={peer}",
            "--unsafe-no-fsync",  # nothing of this has to survive the machine
        ],
        ready=lambda: ok(network.get(f"{client}/health")),
    )


def challtestsrv(cluster):
    """The DNS in which every name leads to Envoy, until a test says otherwise."""
    return Component(
        name="challtestsrv",
        command=[
            cluster.binary("pebble-challtestsrv"),
            "-management", cluster.local("challtestsrv"),
            # A resolv.conf, which is what Pods have, cannot name a port.
            "-dnsserver", ",".join([cluster.local("dns"), *([f"{cluster.node.gateway}:53"] if cluster.node else [])]),
            "-defaultIPv4", "" if cluster.ip_family == "ipv6" else cluster.address,
            "-defaultIPv6", cluster.address6 or "",
            "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "",
        ],
        ready=lambda: network.answers_connections(cluster.ports["challtestsrv"])
        and network.answers_connections(cluster.ports["dns"]),
    )


def pebble(cluster):
    authority = cluster.file("pebble-ca.pem")
    return Component(
        name="pebble",
        command=[cluster.binary("pebble"), *pebble_arguments(cluster)],
        environment=PEBBLE_ENVIRONMENT,
        ready=lambda: ok(network.get(cluster.directory, authority)),
    )


def pebble_arguments(cluster):
    return ["-strict", "-dnsserver", cluster.local("dns"), "-config", cluster.file("pebble.json")]


def apiserver(cluster):
    authority = cluster.file("apiserver-ca.pem")
    key = cluster.file("service-account.key")
    options = {
        "etcd-servers": f"http://{cluster.local('etcd')}",
        "bind-address": "0.0.0.0" if cluster.node else LOOPBACK,
        # Of the family of the first range.
        "advertise-address": cluster.addresses[0],  # it refuses to advertise loopback, and to start without a route
        "secure-port": cluster.ports["apiserver"],
        "cert-dir": cluster.file("apiserver"),
        "tls-cert-file": cluster.file("apiserver.pem"),
        "tls-private-key-file": cluster.file("apiserver-key.pem"),
        "token-auth-file": cluster.file("tokens.csv"),
        "client-ca-file": cluster.file("user-ca.pem"),
        "authorization-mode": "RBAC",
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "service-account-key-file": key,
        "service-account-signing-key-file": key,
        "service-cluster-ip-range": ",".join(FAMILIES[cluster.ip_family]),
        "audit-policy-file": FILES / "audit-policy.yaml",
        "audit-log-path": cluster.logs / "audit.log",
        # A request is in the log before its answer is complete, so that a test can count right after a run.
        "audit-log-mode": "blocking",
        "audit-log-maxsize": 10000,
        "profiling": "false",
        # Logs of Pods are fetched from the kubelet, whose name no DNS knows.
        **({"kubelet-preferred-address-types": "InternalIP", "allow-privileged": "true"} if cluster.node else {}),
    }
    return Component(
        name="kube-apiserver",
        command=[cluster.binary("kube-apiserver"), *(f"--{name}={value}" for name, value in options.items())],
        needs=("etcd",),
        ready=lambda: ok(network.get(f"{cluster.server}/readyz", authority, cluster.token)),
    )


def contour(cluster):
    def install():
        """Contour ends at once when its kinds are not being served yet."""
        kubectl(cluster, "apply", "--server-side", "-f", str(FILES / "base.yaml"), "-f", cluster.binary("contour-crds.yaml"))
        kubectl(cluster, "wait", "crd", "--all", "--for=condition=Established", "--timeout=30s")

    return a_contour(cluster, "contour", cluster.ports, install)


def a_contour(cluster, name, ports, prepare, arguments=()):
    """A Contour that serves the class of its own name on these ports; its configuration is the file of that name."""
    options = {
        "config-path": FILES / f"{name}.yaml",
        "xds-address": LOOPBACK, "xds-port": ports["xds"],
        "http-address": LOOPBACK, "http-port": ports["contour_metrics"],
        "debug-http-address": LOOPBACK, "debug-http-port": ports["contour_debug"],
        "health-address": LOOPBACK, "health-port": ports["contour_health"],
        "stats-address": LOOPBACK, "stats-port": ports["envoy_stats"],
        # Contour lets this one take IPv4 too.
        "envoy-service-http-address": "::" if cluster.address6 else "0.0.0.0", "envoy-service-http-port": ports["http"],
        "envoy-service-https-address": "::" if cluster.address6 else "0.0.0.0", "envoy-service-https-port": ports["https"],
        "kubeconfig": cluster.file("kubeconfig"),
        "ingress-class-name": name,
        "ingress-status-address": ",".join(cluster.addresses),
    }
    options = [f"--{option}={value}" for option, value in options.items()]
    return Component(
        name=name,
        command=[cluster.binary("contour"), "serve", "--insecure", "--disable-leader-election", *options, *arguments],
        needs=("kube-apiserver",),
        prepare=prepare,
        ready=lambda: ok(network.get(f"http://{LOOPBACK}:{ports['contour_health']}/healthz")),
    )


def envoy(cluster):
    return an_envoy(cluster, "envoy", "contour", cluster.ports)


def an_envoy(cluster, name, controller, ports):
    """The Envoy of a Contour with these ports."""
    bootstrap = lambda path: run([
        # A path relative to Envoy's working directory: the length of a socket's path is limited.
        cluster.binary("contour"), "bootstrap", "--admin-address", f"{name}.sock",
        "--xds-address", LOOPBACK, "--xds-port", str(ports["xds"]),
        "--xds-resource-version", "v3", path,
    ])
    return envoy_of(cluster, name, controller, ports, bootstrap, ["--service-cluster", "test", "--service-node", name])


def envoy_of(cluster, name, controller, ports, bootstrap, arguments=()):
    """An Envoy whose controller is a component of this name; `bootstrap` writes its configuration into a file."""
    path = cluster.file(f"{name}.json")
    return Component(
        name=name,
        command=[
            cluster.binary("envoy"), "-c", path, *arguments, "--concurrency", "1",
            # Each certificate of each test is a filter chain, and one that is gone lives for ten minutes more by default: with hundreds
            # of them, new routes took up to 19 s.
            "--drain-time-s", "1",
            "--disable-hot-restart",  # its shared memory would be that of every other Envoy here
            "--log-level", "warning",
        ],
        needs=(controller,),  # without it Envoy would wait longer for each further attempt
        prepare=lambda: bootstrap(path),
        ready=lambda: ok(network.get(f"http://{LOOPBACK}:{ports['envoy_stats']}/ready")),
    )


# In the order of starting; they are ended in the opposite one.
COMPONENTS = (web, etcd, challtestsrv, pebble, apiserver, contour, envoy)


def kubectl(cluster, *arguments, text=None):
    # What it remembers of a server would otherwise go to the user's home, by a port that is another's the next time.
    environment = {"KUBECONFIG": cluster.file("kubeconfig"), "KUBECACHEDIR": cluster.file("kubectl"), "PATH": ""}
    return run([cluster.binary("kubectl"), *arguments], environment=environment, text=text)


def run(command, environment=None, text=None):
    """Runs a helper to its end. A failure carries what it said."""
    done = subprocess.run(
        command, env=environment, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=60, preexec_fn=tied_to_parent(),
    )
    if done.returncode:
        raise RuntimeError(f"`{Path(command[0]).name} {' '.join(command[1:3])} ...` failed: {done.stdout.strip()}")
    return done.stdout


def ok(answer):
    return answer is not None and answer[0] == 200


def _pebble_config(cluster):
    return {
        "pebble": {
            "listenAddress": f"{cluster.address if cluster.node else LOOPBACK}:{cluster.ports['directory']}",
            "managementListenAddress": cluster.local("pebble_management"),
            "certificate": cluster.file("pebble.pem"),
            "privateKey": cluster.file("pebble-key.pem"),
            "httpPort": cluster.entrance["http_port"],
            "tlsPort": cluster.entrance["https_port"],
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            "domainBlocklist": ["blocked-domain.example"],
            "retryAfter": {"authz": 1, "order": 1},
            "keyAlgorithm": "ecdsa",
            # An order that names no profile gets any of these.
            "profiles": {
                "default": {"description": "90 days", "validityPeriod": 7776000},
                "shortlived": {"description": "6 days", "validityPeriod": 518400},
            },
        }
    }


def kubeconfig(cluster, server):
    """The admin's, for whoever reaches the API server there."""
    return f"""apiVersion: v1
kind: Config
current-context: {cluster.name}
contexts:
  - name: {cluster.name}
    context: {{cluster: {cluster.name}, user: admin}}
clusters:
  - name: {cluster.name}
    cluster:
      server: {server}
      certificate-authority-data: {base64_of(cluster.file("apiserver-ca.pem"))}
users:
  - name: admin
    user:
      token: {cluster.token}
"""


def base64_of(file):
    return base64.b64encode(Path(file).read_bytes()).decode()
