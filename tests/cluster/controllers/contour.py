"""Contour's Gateways: a further Contour and its Envoy, which serve one Gateway, whoever makes it."""

from string import Template

from components import FILES, a_contour, an_envoy, kubectl

from . import Controller, gateway_api

NAME = "contour-gateway"
PORTS = ("xds", "contour_metrics", "contour_debug", "contour_health", "envoy_stats", "http", "https")
# Envoy listens on a listener's port and so many more, so that it needs no right to those below 1024.
OFFSET = 8000


def _ports(cluster):
    return {port: cluster.ports[f"{NAME}_{port}"] for port in PORTS}


def _contour(cluster):
    def prepare():
        gateway_api.install(cluster)
        values = {"CLASS": NAME, "CONTROLLER": "projectcontour.io/gateway-controller"}
        kubectl(cluster, "apply", "-f", "-", text=Template((FILES / "gatewayclass.yaml").read_text()).substitute(values))

    # The standard channel does not serve what these need.
    disabled = [f"--disable-feature={kind}" for kind in ("tlsroutes", "tcproutes", "backendtlspolicies")]
    return a_contour(cluster, NAME, _ports(cluster), prepare, disabled)


def _envoy(cluster):
    return an_envoy(cluster, f"{NAME}-envoy", NAME, _ports(cluster))


def _describe(cluster):
    ports = _ports(cluster)
    return {
        "class": NAME,
        "address": cluster.address,
        "http_port": ports["http"],
        "https_port": ports["https"],
        "listener_http_port": ports["http"] - OFFSET,
        "listener_https_port": ports["https"] - OFFSET,
        # The one Gateway of contour-gateway.yaml.
        "gateways": {"namespace": NAME, "only": "only"},
    }


CONTROLLERS = {
    # Traefik's product brings the kinds of the Gateway API.
    NAME: Controller(("traefik",), tuple(f"{NAME}_{port}" for port in PORTS), (_contour, _envoy), _describe),
}
