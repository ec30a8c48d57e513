"""Traefik, k3s's ingress controller, with its own provider for Ingresses, or with the one that takes the place of ingress-nginx."""

from string import Template

import network
from components import FILES, LOOPBACK, Component, kubectl, ok

from . import Controller, gateway_api


PORTS = ("http", "https", "redirecting", "ping")


def _controller(name, ingress_class, controller, provider, manifest="traefik.yaml", crds=False):
    """`provider` is a function from a Cluster to its options."""

    def traefik(cluster):
        port = {which: cluster.ports[f"{name}_{which}"] for which in PORTS}
        options = {
            "entrypoints.web.address": f"{cluster.address}:{port['http']}",
            "entrypoints.websecure.address": f"{cluster.address}:{port['https']}",
            "entrypoints.traefik.address": f"{LOOPBACK}:{port['ping']}",
            "ping": "true",
            "global.checknewversion": "false",
            "global.sendanonymoususage": "false",
            "log.level": "INFO",
            **provider(cluster),
        }

        def prepare():
            values = {"CLASS": ingress_class, "CONTROLLER": controller}
            if crds:
                gateway_api.install(cluster)
            kubectl(cluster, "apply", "-f", "-", text=Template((FILES / manifest).read_text()).substitute(values))

        return Component(
            name=name,
            command=[cluster.binary("traefik"), *(f"--{option}={value}" for option, value in options.items())],
            environment={"KUBECONFIG": cluster.file("kubeconfig")},
            needs=("kube-apiserver",),
            prepare=prepare,
            ready=lambda: ok(network.get(f"http://{LOOPBACK}:{port['ping']}/ping")),
        )

    def describe(cluster):
        return {
            "class": ingress_class,
            "address": cluster.address,
            "http_port": cluster.ports[f"{name}_http"],
            "https_port": cluster.ports[f"{name}_https"],
            **({"redirecting_port": cluster.ports[f"{name}_redirecting"]} if provider is _own else {}),
        }

    ports = tuple(f"{name}_{which}" for which in PORTS)
    return Controller(("traefik",), ports, (traefik,), describe)


def _own(cluster):
    return {
        "providers.kubernetesingress": "true",
        "providers.kubernetesingress.ingressclass": "traefik",
        "providers.kubernetesingress.ingressendpoint.ip": cluster.address,
        # As in its chart and in k3s: a router is served here too if its Ingress names no TLS.
        "entrypoints.websecure.http.tls": "true",
        # A second entry point for HTTP, as admins have it who redirect all of it.
        "entrypoints.redirecting.address": f"{cluster.address}:{cluster.ports['traefik_redirecting']}",
        "entrypoints.redirecting.http.redirections.entrypoint.to": "websecure",
    }


def _gateways(cluster):
    return {
        "providers.kubernetesgateway": "true",
        "providers.kubernetesgateway.statusaddress.ip": cluster.address,
    }


def _for_nginx(cluster):
    return {
        "providers.kubernetesingressnginx": "true",
        "providers.kubernetesingressnginx.publishstatusaddress": cluster.address,
        "providers.kubernetesingressnginx.httpentrypoint": "web",
        "providers.kubernetesingressnginx.httpsentrypoint": "websecure",
    }


# The second one serves the class of ingress-nginx, so that it is in no cluster with that.
CONTROLLERS = {
    "traefik": _controller("traefik", "traefik", "traefik.io/ingress-controller", _own),
    "traefik-nginx": _controller("traefik-nginx", "nginx", "k8s.io/ingress-nginx", _for_nginx),
    "traefik-gateway": _controller(
        "traefik-gateway", "traefik", "traefik.io/gateway-controller", _gateways, "gatewayclass.yaml", crds=True
    ),
}
