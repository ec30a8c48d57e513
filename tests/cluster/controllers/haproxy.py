"""haproxy-ingress (jcmoraisjr's), on Debian's HAProxy."""

import os
import shutil
from pathlib import Path
from string import Template

import network
from components import FILES, LOOPBACK, Component, kubectl, ok

from . import Controller, in_own_namespaces

PACKAGES = ("haproxy", "lua-json", "lua-lpeg", "liblua5.3-0", "libopentracing1", "libopentracing-c-wrapper0")
PORTS = tuple(f"haproxy_{name}" for name in ("http", "https", "stats", "health", "auth", "controller"))
# Where its files are in its own mount namespace. The length of a socket's path is limited, and a cluster's folder may be deep.
PLACE = "/media"


def haproxy(cluster):
    port = {name: cluster.ports[f"haproxy_{name}"] for name in ("http", "https", "stats", "health", "auth", "controller")}
    root, rootfs = Path(cluster.binary("packages-of-haproxy-ingress")), Path(cluster.binary("haproxy-ingress-rootfs"))
    here = Path(cluster.file("haproxy"))

    def prepare():
        _lay_out(here, rootfs)
        values = {"ADDRESS": cluster.address, **{f"{name.upper()}_PORT": number for name, number in port.items()}}
        objects = (FILES / "haproxy" / "objects.yaml").read_text()
        kubectl(cluster, "apply", "-f", "-", text=Template(objects).substitute(values))

    options = {
        "kubeconfig": cluster.file("kubeconfig"),
        "configmap": "ingress-controller/haproxy-ingress",
        "local-filesystem-prefix": PLACE,
        "healthz-port": port["controller"],
        "profiling": "false",
        # It is written once in a minute, and would need a Pod and a Service.
        "update-status": "false",
    }
    controller = [cluster.binary("haproxy-ingress-controller"), *(f"--{name}={value}" for name, value in options.items())]
    # HAProxy is a daemon, and has to end with its controller: hence a PID namespace.
    mounts = [f"mount --bind {here} {PLACE}", f"cd {PLACE}"]
    return Component(
        name="haproxy",
        command=in_own_namespaces(mounts, controller),
        environment=_environment(root),
        needs=("kube-apiserver",),
        prepare=prepare,
        # HAProxy itself answers there, once the controller has given it its configuration.
        ready=lambda: ok(network.get(f"http://{LOOPBACK}:{port['health']}/healthz")),
    )


def _lay_out(here, rootfs):
    """Its image's files, relative to which it looks for scripts and templates, and what the start script of the image copies."""
    shutil.rmtree(here, ignore_errors=True)
    shutil.copytree(rootfs, here / "rootfs")
    for script in (here / "rootfs").glob("*.sh"):
        script.chmod(0o755)  # a module knows nothing of that
    shutil.copytree(rootfs / "etc" / "lua", here / "etc" / "haproxy" / "lua")


def _environment(root):
    native = root / "usr/lib/x86_64-linux-gnu"
    return {
        "PATH": f"{root}/usr/sbin:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": str(native),
        "LUA_PATH": f"{root}/usr/share/lua/5.3/?.lua;;",
        "LUA_CPATH": f"{native}/lua/5.3/?.so;;",
        "POD_NAMESPACE": "ingress-controller",
    }


def _describe(cluster):
    return {
        "class": "haproxy",
        "address": cluster.address,
        "http_port": cluster.ports["haproxy_http"],
        "https_port": cluster.ports["haproxy_https"],
    }


CONTROLLERS = {"haproxy": Controller(("haproxy-ingress",), PORTS, (haproxy,), _describe, PACKAGES)}
