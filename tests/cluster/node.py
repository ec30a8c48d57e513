"""The node of a cluster, as namespaces of this machine: what runs in them cannot change the machine, and all that it
makes (mounts, bridge, network namespaces of Pods, nftables, kernel settings) ends with its processes, however they end.

The one exception are cgroup folders, which are empty by then: `remove_cgroups`."""

import contextlib
import ctypes
import enum
import ipaddress
import json
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC = 2, 4, 8, 4096, 16384
MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 18, 1 << 19, 1 << 20
MNT_DETACH = 2

# Where containerd, the CNI plugins and the kubelet write whatever they are told. Nothing else of it is needed here.
HIDDEN = ("/run", "/var/lib", "/var/log")
# What a kubelet wants of the kernel, and would set for the whole machine.
KERNEL_SETTINGS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}
INTERFACE = "klo{}"
PODS, LINK = "10.244.{}.0/24", "10.245.{}.0/30"
NODES_AT_ONCE = 100
CGROUP = "kube-lego-once"


class Inside(enum.Enum):
    """Where a component runs."""

    MACHINE = "in the machine's own network"
    NODE = "in the network of the node"
    CONTAINERS = "in the network of the node, and with process ids of its own: they end with the first of them"


class NodeFailed(RuntimeError):
    pass


@dataclass
class Node:
    """A network namespace and the cable from this machine to it. It is there as long as this process, or one inside."""

    interface: str
    pods: ipaddress.IPv4Network
    gateway: str  # this machine, as the node and its Pods see it
    address: str  # the node, as this machine sees it
    network: int

    @classmethod
    def make(cls):
        network = _new_network()
        taken = [ipaddress.ip_network(route["dst"]) for route in _routes()]
        for index in range(NODES_AT_ONCE):
            pods, link = (ipaddress.ip_network(template.format(index)) for template in (PODS, LINK))
            if any(used.overlaps(pods) or used.overlaps(link) for used in taken):
                continue
            gateway, address = (str(host) for host in link.hosts())
            node = cls(INTERFACE.format(index), pods, gateway, address, network)
            try:
                # The kernel gives a name to one only, so this is what claims the addresses.
                peer = f"/proc/{os.getpid()}/fd/{network}"
                _ip(f"link add {node.interface} type veth peer name uplink netns {peer}")
            except NodeFailed as failure:
                if "File exists" not in str(failure):
                    raise
                continue
            node._connect(link.prefixlen)
            return node
        raise NodeFailed(f"no free addresses for a node: {PODS.format('N')} and {LINK.format('N')} are all in use")

    def _connect(self, prefix):
        for arguments in (
            "link set lo up",
            f"address add {self.address}/{prefix} dev uplink",
            "link set uplink up",
            f"route add default via {self.gateway}",
        ):
            _ip(arguments, enter=self._enter_network)
        _ip(f"address add {self.gateway}/{prefix} dev {self.interface}")
        _ip(f"link set {self.interface} up")
        _ip(f"route add {self.pods} via {self.address}")

    def release(self):
        """After the last process inside has ended."""
        with contextlib.suppress(NodeFailed):
            _ip(f"link delete {self.interface}")
        os.close(self.network)

    def describe(self, cluster):
        """What tests and people get to know beyond what clusters without nodes have."""
        return {
            "ctr": cluster.binary("ctr"),
            "containerd_socket": containerd_socket(cluster),
            "pod_network": str(self.pods),
            "node_gateway": self.gateway,
            "node_address": self.address,
            "cgroup": f"/{CGROUP}/{self.interface}",
        }

    @contextlib.contextmanager
    def entering(self, inside):
        """Gives what a child has to do first, to be started while in this context."""
        if inside is Inside.MACHINE:
            yield None
        elif inside is Inside.NODE:
            yield self._enter_network
        else:
            own = os.open("/proc/self/ns/pid", os.O_RDONLY)
            _unshare(CLONE_NEWPID)  # of the children from now on
            try:
                yield self._enter_containers
            finally:
                _setns(own, CLONE_NEWPID)
                os.close(own)

    def _enter_network(self):
        _setns(self.network, CLONE_NEWNET)

    def _enter_containers(self):
        self._enter_network()
        # Sees the volumes that the kubelet mounts, which does not see what containers mount.
        _unshare(CLONE_NEWNS)
        _mount(None, "/", None, MS_REC | MS_SLAVE)
        _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def containerd_socket(cluster):
    return cluster.file("containerd.sock")


def isolate(interface, kept):
    """Gives this process and its children mounts of their own, in which only `kept` is left of some folders, and a folder
    in the place of each cgroup hierarchy."""
    _unshare(CLONE_NEWNS)
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    _mount(None, "/", None, MS_REC | MS_SHARED)  # among our own
    hidden = [Path(place).resolve() for place in HIDDEN]
    held = {}
    for path in {Path(path).resolve() for path in kept}:
        if any(path.is_relative_to(place) for place in hidden):
            held[path] = os.open(path, os.O_PATH)
    for place in hidden:
        _mount("tmpfs", str(place), "tmpfs", MS_NOSUID | MS_NODEV)
    for path, file in sorted(held.items()):
        path.mkdir(parents=True, exist_ok=True)
        _mount(f"/proc/self/fd/{file}", str(path), None, MS_BIND)
        os.close(file)
    for hierarchy in _cgroup_hierarchies():
        _put_in_place_of(hierarchy, _make_cgroup(hierarchy, interface))
    for name, value in KERNEL_SETTINGS.items():
        if not Path("/proc/sys", name).exists():
            continue
        stand_in = Path("/run") / name.replace("/", ".")
        stand_in.write_text(f"{value}\n")
        _mount(str(stand_in), f"/proc/sys/{name}", None, MS_BIND)


def _put_in_place_of(hierarchy, folder):
    """Not upon it: runc takes the first mount of a hierarchy that it is told of."""
    aside = Path("/run/cgroup")
    aside.mkdir()
    _mount(str(folder), str(aside), None, MS_BIND)
    _unmount(hierarchy)
    _mount(str(aside), str(hierarchy), None, MS_BIND)
    _unmount(aside)
    aside.rmdir()


def unmount_below(path):
    """What the kubelet has mounted for Pods that are no more. Only this process and its children see it."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        place = line.split()[4].encode().decode("unicode_escape")
        if place.startswith(f"{path}/"):
            _unmount(place)


def remove_cgroups():
    """Removes the cgroup folders of nodes that are no more, for root, who alone can have made any. The interface of a node
    is there as long as the node is."""
    if os.geteuid():
        return
    interfaces = {name for _, name in socket.if_nameindex()}
    for hierarchy in _cgroup_hierarchies():
        for folder in hierarchy.glob(f"{CGROUP}/*"):
            if folder.is_dir() and folder.name not in interfaces:
                _remove_cgroup(folder)
        with contextlib.suppress(OSError):
            (hierarchy / CGROUP).rmdir()  # unless another node is there


def wait_until_gone(interface):
    """The kernel takes a network apart in its own time, once nobody is in it."""
    deadline = time.monotonic() + 5
    while interface in {name for _, name in socket.if_nameindex()} and time.monotonic() < deadline:
        time.sleep(0.02)


def _make_cgroup(hierarchy, interface):
    """A folder whose children can have whatever the hierarchy gives."""
    folder = hierarchy
    for name in (CGROUP, interface):
        parent, folder = folder, folder / name
        if (control := parent / "cgroup.subtree_control").exists():  # version 2
            for controller in (parent / "cgroup.controllers").read_text().split():
                with contextlib.suppress(OSError):  # one that is in use elsewhere
                    control.write_text(f"+{controller}")
        folder.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # of version 1, where nobody fits into a new folder
            if (parent / setting).exists() and (text := (parent / setting).read_text().strip()):
                with contextlib.suppress(OSError):
                    (folder / setting).write_text(text)
    return folder


def _remove_cgroup(folder):
    for inner in [path for path in folder.iterdir() if path.is_dir()]:
        _remove_cgroup(inner)
    deadline = time.monotonic() + 5
    while folder.exists() and time.monotonic() < deadline:
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:  # somebody is on the way out
            for pid in (folder / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.02)


def _cgroup_hierarchies():
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [Path(place) for _, place, kind, *_ in mounts if kind in ("cgroup", "cgroup2")]


def _new_network():
    """A network namespace with nobody in it, held by the file that is returned."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    _unshare(CLONE_NEWNET)
    try:
        return os.open("/proc/self/ns/net", os.O_RDONLY)
    finally:
        _setns(own, CLONE_NEWNET)
        os.close(own)


def _routes():
    routes = json.loads(_ip("-4 -json route show table all") or "[]")
    return [route for route in routes if route.get("dst", "default") not in ("default", "0.0.0.0/0")]


def _ip(arguments, enter=None):
    command = ["ip", *arguments.split()]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10, preexec_fn=enter
    )
    if done.returncode:
        raise NodeFailed(f"`ip {arguments}` failed: {done.stdout.strip()}")
    return done.stdout


def _mount(source, target, kind, flags):
    _check("mount", *(text.encode() if text else None for text in (source, target, kind)), ctypes.c_ulong(flags), None)


def _unmount(place):
    _check("umount2", str(place).encode(), MNT_DETACH)


def _unshare(flags):
    _check("unshare", flags)


def _setns(file, kind):
    _check("setns", file, kind)


def _check(name, *arguments):
    if getattr(LIBC, name)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
