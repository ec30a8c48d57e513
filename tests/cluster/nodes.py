"""What Pods need beyond a control plane: a controller manager, a scheduler and one node, of which `node.py` says where
it is. One function per component, as in `components.py`."""

import json
import socket
from pathlib import Path

import components
import image
import network
from components import LOOPBACK, Component, run
from node import Inside, containerd_socket

NAME = "node"
KUBELET_PORT, KUBELET_HEALTH_PORT, PROXY_HEALTH_PORT = 10250, 10248, 10256
PAUSE = "kube-lego-once.test/pause:1"
CNI_PLUGINS = ("bridge", "host-local", "loopback")
CNI_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")


def prepare(cluster):
    """The files that containerd, the kubelet and the Pods read."""
    Path(cluster.file("node.kubeconfig")).write_text(
        components.kubeconfig(cluster, f"https://{cluster.address}:{cluster.ports['apiserver']}")
    )
    Path(cluster.file("resolv.conf")).write_text(f"nameserver {cluster.node.gateway}\n")
    Path(cluster.file("containerd.toml")).write_text(_containerd_config(cluster))
    Path(cluster.file("kubelet.json")).write_text(json.dumps(_kubelet_config(cluster), indent=2) + "\n")
    cni = Path(cluster.file("cni"))
    cni.mkdir()
    (cni / "pods.conflist").write_text(json.dumps(_cni_config(cluster), indent=2) + "\n")
    image.write(cluster.file("pause.tar"), PAUSE, [("pause", Path(cluster.binary("pause")).read_bytes())])


def controller_manager(cluster):
    """Without it there would be no Pods of Jobs, and no ServiceAccount that they could run as."""
    options = {
        "service-account-private-key-file": cluster.file("service-account.key"),
        "root-ca-file": cluster.file("apiserver-ca.pem"),
        "flex-volume-plugin-dir": cluster.file("volume-plugins"),  # or it makes a folder below /usr
    }
    return _control_plane(cluster, "kube-controller-manager", "controller_manager", options)


def scheduler(cluster):
    return _control_plane(cluster, "kube-scheduler", "scheduler", {})


def _control_plane(cluster, name, port, options):
    options = {
        "kubeconfig": cluster.file("kubeconfig"),
        "leader-elect": "false",
        "bind-address": LOOPBACK,
        "secure-port": cluster.ports[port],
        "tls-cert-file": cluster.file("apiserver.pem"),
        "tls-private-key-file": cluster.file("apiserver-key.pem"),
        "profiling": "false",
        **options,
    }
    url, authority = f"https://{cluster.local(port)}/healthz", cluster.file("apiserver-ca.pem")
    return Component(
        name=name,
        command=[cluster.binary(name), *(f"--{name}={value}" for name, value in options.items())],
        needs=("kube-apiserver",),
        ready=lambda: components.ok(network.get(url, authority)),
    )


def containerd(cluster):
    return Component(
        name="containerd",
        command=[cluster.binary("containerd"), "--config", cluster.file("containerd.toml")],
        # It looks for its shim on PATH.
        environment={"PATH": f"{Path(cluster.binary('containerd')).parent}:/usr/sbin:/usr/bin:/sbin:/bin"},
        ready=lambda: _accepts(containerd_socket(cluster)),
        inside=Inside.CONTAINERS,
    )


def kubelet(cluster):
    options = {
        "config": cluster.file("kubelet.json"),
        "kubeconfig": cluster.file("node.kubeconfig"),
        "hostname-override": NAME,
        "node-ip": cluster.node.address,
        "root-dir": cluster.file("kubelet"),
        "cert-dir": cluster.file("kubelet-pki"),
    }
    return Component(
        name="kubelet",
        command=[cluster.binary("kubelet"), *(f"--{name}={value}" for name, value in options.items())],
        environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        needs=("containerd", "kube-apiserver"),
        prepare=lambda: load_image(cluster.binary("ctr"), containerd_socket(cluster), cluster.file("pause.tar")),
        ready=lambda: _node_is_ready(cluster),
        inside=Inside.NODE,
    )


def kube_proxy(cluster):
    """The addresses of Services, also the API server's own, as Pods see them."""
    options = {
        "kubeconfig": cluster.file("node.kubeconfig"),
        "hostname-override": NAME,
        "proxy-mode": "nftables",
        "cluster-cidr": cluster.node.pods,
        "healthz-bind-address": f"{cluster.node.address}:{PROXY_HEALTH_PORT}",
        "oom-score-adj": 0,
        # These would be settings of the whole machine.
        "conntrack-max-per-core": 0,
        "conntrack-tcp-timeout-established": 0,
        "conntrack-tcp-timeout-close-wait": 0,
    }
    return Component(
        name="kube-proxy",
        command=[cluster.binary("kube-proxy"), *(f"--{name}={value}" for name, value in options.items())],
        environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        needs=("kube-apiserver",),
        ready=lambda: components.ok(network.get(f"http://{cluster.node.address}:{PROXY_HEALTH_PORT}/healthz")),
        inside=Inside.NODE,
    )


# In the order of starting, after those of `components.py`.
COMPONENTS = (containerd, controller_manager, scheduler, kubelet, kube_proxy)


def load_image(ctr, containerd_socket, archive):
    """Images come from files, never from a registry: Pods have to say `imagePullPolicy: Never`, or `IfNotPresent`."""
    return run([ctr, "--address", containerd_socket, "--namespace", "k8s.io", "images", "import", str(archive)])


def _accepts(path):
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(path)
            return True
        except OSError:
            return False


def _node_is_ready(cluster):
    url = f"{cluster.server}/api/v1/nodes/{NAME}"
    answer = network.get(url, cluster.file("apiserver-ca.pem"), cluster.token)
    if not components.ok(answer):
        return False
    conditions = json.loads(answer[1])["status"].get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _containerd_config(cluster):
    return f"""version = 3
root = "{cluster.file("containerd")}"
state = "{cluster.file("containerd-state")}"
disabled_plugins = ["io.containerd.nri.v1.nri"]

[grpc]
address = "{containerd_socket(cluster)}"

[plugins."io.containerd.cri.v1.images"]
snapshotter = "native" # works on every file system, and images here are small
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE}"

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true # root may lack CAP_SYS_RESOURCE
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{cni_folder()}"]
conf_dir = "{cluster.file("cni")}"
[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""


def cni_folder():
    """Where the CNI plugins are, or None."""
    complete = (folder for folder in CNI_FOLDERS if all((Path(folder) / name).exists() for name in CNI_PLUGINS))
    return next(complete, None)


def _cni_config(cluster):
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "pods",
                "isGateway": True,
                "hairpinMode": True,  # a Pod may be a backend of the Service that it asks
                "ipam": {
                    "type": "host-local",
                    "dataDir": cluster.file("cni-addresses"),
                    "ranges": [[{"subnet": str(cluster.node.pods)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
        ],
    }


def _kubelet_config(cluster):
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        # Only this machine and the Pods reach that address, so nobody is asked who they are.
        "address": cluster.node.address,
        "port": KUBELET_PORT,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "healthzBindAddress": cluster.node.address,
        "healthzPort": KUBELET_HEALTH_PORT,
        "containerRuntimeEndpoint": f"unix://{containerd_socket(cluster)}",
        "clusterDNS": [cluster.node.gateway],
        "resolvConf": cluster.file("resolv.conf"),
        "podLogsDir": cluster.file("pod-logs"),
        "volumePluginDir": cluster.file("volume-plugins"),
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "localStorageCapacityIsolation": False,
        "makeIPTablesUtilChains": False,
        "oomScoreAdj": 0,
        # A full disk is no reason to throw images away, or Pods.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
        "shutdownGracePeriod": "0s",
    }
