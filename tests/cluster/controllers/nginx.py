"""ingress-nginx of the Kubernetes project, with its validating webhook, on Debian's nginx."""

import os
import re
import shutil
from pathlib import Path
from string import Template

import components
import network
from components import FILES, LOOPBACK, Component, kubectl, ok

from . import Controller, in_own_namespaces

FOLDER = FILES / "nginx"
PACKAGES = (
    "nginx", "nginx-common", "libnginx-mod-http-lua", "libnginx-mod-http-ndk", "libnginx-mod-http-headers-more-filter",
    "libnginx-mod-http-set-misc", "lua-resty-core", "lua-resty-lrucache", "lua-cjson", "libluajit2-5.1-2", "libpcre3",
)  # fmt: skip
PORTS = tuple(f"nginx_{name}" for name in ("http", "https", "status", "stream", "health", "default", "webhook"))


def nginx(cluster):
    port = {name: cluster.ports[f"nginx_{name}"] for name in ("http", "https", "status", "stream", "health", "default", "webhook")}
    root, rootfs = Path(cluster.binary("packages-of-ingress-nginx")), Path(cluster.binary("ingress-nginx-rootfs"))
    here = Path(cluster.file("nginx"))

    def prepare():
        _lay_out(here, root, rootfs)
        components.run([cluster.binary("keys"), "server", str(here / "webhook"), LOOPBACK])
        values = {
            "ROOT": root,
            "STREAM_PORT": port["stream"],
            "WEBHOOK_PORT": port["webhook"],
            "CA": components.base64_of(here / "webhook-ca.pem"),
        }
        objects = Template((FOLDER / "objects.yaml").read_text()).substitute(values)
        # The webhook is asked from the moment that it is there: it comes last, once the controller listens.
        objects, webhook = objects.rsplit("\n---\n", 1)
        (here / "webhook.yaml").write_text(webhook)
        kubectl(cluster, "apply", "-f", "-", text=objects)

    def ready():
        if not ok(network.get(f"http://{LOOPBACK}:{port['health']}/healthz")):
            return False
        if not (here / "admitted").exists():
            kubectl(cluster, "apply", "-f", str(here / "webhook.yaml"))
            (here / "admitted").touch()
        return True

    options = {
        "kubeconfig": cluster.file("kubeconfig"),
        "ingress-class": "nginx",
        "configmap": "ingress-nginx/ingress-nginx-controller",
        "http-port": port["http"], "https-port": port["https"], "status-port": port["status"],
        "stream-port": port["stream"], "healthz-port": port["health"], "default-server-port": port["default"],
        "profiling": "false", "enable-metrics": "false",
        "publish-status-address": cluster.address, "status-update-interval": 5,
        "post-shutdown-grace-period": 0,
        "validating-webhook": f"{LOOPBACK}:{port['webhook']}",
        "validating-webhook-certificate": here / "webhook.pem",
        "validating-webhook-key": here / "webhook-key.pem",
    }  # fmt: skip
    controller = [cluster.binary("ingress-nginx-controller"), *(f"--{name}={value}" for name, value in options.items())]
    # Its paths are fixed, so that it has a mount namespace of its own; and a PID namespace, so that nginx ends with it.
    mounts = [
        f"mount -t overlay overlay -o lowerdir=/etc,upperdir={here}/etc,workdir={here}/work /etc",
        f"mount --bind {here}/etc-nginx /etc/nginx",
        f"mount --bind {here}/etc-controller /etc/ingress-controller",
        f"mkdir -p /tmp/nginx && mount --bind {here}/tmp /tmp/nginx",
    ]
    return Component(
        name="nginx",
        command=in_own_namespaces(mounts, controller),
        environment=_environment(root),
        needs=("kube-apiserver",),
        prepare=prepare,
        ready=ready,
    )


def _lay_out(here, root, rootfs):
    """The folders that become /etc/nginx, /etc/ingress-controller and /tmp/nginx."""
    shutil.rmtree(here, ignore_errors=True)
    for name in ("etc/nginx", "etc/ingress-controller", "work", "etc-nginx/template", "tmp"):
        (here / name).mkdir(parents=True)
    for name in ("ssl", "auth", "geoip", "telemetry"):
        (here / "etc-controller" / name).mkdir(parents=True)
    shutil.copytree(rootfs / "lua", here / "etc-nginx" / "lua")
    shutil.copy(rootfs / "nginx.conf", here / "etc-nginx")
    shutil.copy(root / "etc/nginx/mime.types", here / "etc-nginx")
    template = (rootfs / "template" / "nginx.tmpl").read_text()
    template = re.sub(r"\nstream \{.*?\n\}\n", "\n", template, count=1, flags=re.DOTALL)
    (here / "etc-nginx/template/nginx.tmpl").write_text(template)


def _environment(root):
    lua, native = root / "usr/share/lua/5.1", root / "usr/lib/x86_64-linux-gnu"
    return {
        "NGINX_BINARY": str(root / "usr/sbin/nginx"),
        "PATH": f"{root}/usr/sbin:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": f"{native}:{root}/lib/x86_64-linux-gnu",
        "LUA_PATH": f"{FOLDER}/?.lua;{lua}/?.lua;{lua}/?/init.lua;;",
        "LUA_CPATH": f"{native}/lua/5.1/?.so;;",
        "POD_NAME": "controller",
        "POD_NAMESPACE": "ingress-nginx",
    }


def _describe(cluster):
    return {
        "class": "nginx",
        "address": cluster.address,
        "http_port": cluster.ports["nginx_http"],
        "https_port": cluster.ports["nginx_https"],
    }


CONTROLLERS = {"nginx": Controller(("ingress-nginx",), PORTS, (nginx,), _describe, PACKAGES)}
