"""Istio's Gateways: its control plane outside of the cluster, and the Envoy of the others instead of its own proxy."""

import json
from pathlib import Path
from string import Template

import network
from components import FILES, LOOPBACK, Component, envoy_of, kubectl, ok, run

from . import Controller, gateway_api

NAME = "istio-gateway"
PORTS = ("xds", "plain_xds", "debug", "webhooks", "metrics", "envoy_stats", "http", "https")
# The address by which its Envoy is known. Nothing connects to it, and an EndpointSlice does not take loopback.
PROXY = "192.0.2.1"
IDENTITY = f"spiffe://cluster.local/ns/{NAME}/sa/gateway"


def _ports(cluster):
    return {port: cluster.ports[f"{NAME}_{port}"] for port in PORTS}


def _istiod(cluster):
    port = _ports(cluster)
    mesh = cluster.file("istio-mesh.yaml")

    def prepare():
        gateway_api.install(cluster)
        run([cluster.binary("keys"), "server", cluster.file("istiod"), LOOPBACK])
        run([cluster.binary("keys"), "client", cluster.file("istio-envoy"), IDENTITY])
        # There are no sidecars here, and Envoy speaks TLS of its own with nothing behind it.
        Path(mesh).write_text("enableAutoMtls: false\ningressControllerMode: 'OFF'\n")
        values = {"NAME": NAME, "PROXY": PROXY, "HTTP": port["http"], "HTTPS": port["https"]}
        objects = Template((FILES / "istio.yaml").read_text()).substitute(values)
        kubectl(cluster, "apply", "-f", "-", text=objects)
        status = {"status": {"loadBalancer": {"ingress": [{"ip": cluster.address}]}}}
        kubectl(cluster, "patch", "service", "gateway", "-n", NAME, "--subresource=status", "-p", json.dumps(status))

    options = {
        "kubeconfig": cluster.file("kubeconfig"),
        "meshConfig": mesh,
        "namespace": NAME,
        "secureGRPCAddr": f"{LOOPBACK}:{port['xds']}",
        "grpcAddr": f"{LOOPBACK}:{port['plain_xds']}",
        "httpAddr": f"{LOOPBACK}:{port['debug']}",
        "httpsAddr": f"{LOOPBACK}:{port['webhooks']}",
        "monitoringAddr": f"{LOOPBACK}:{port['metrics']}",
        "ctrlz_port": 0,
        "profile": "false",
        "caCertFile": cluster.file("istio-envoy-ca.pem"),
        "tlsCertFile": cluster.file("istiod.pem"),
        "tlsKeyFile": cluster.file("istiod-key.pem"),
    }
    return Component(
        name=NAME,
        command=[cluster.binary("pilot-discovery"), "discovery", *(f"--{name}={value}" for name, value in options.items())],
        environment={
            "POD_NAME": "istiod",
            "POD_NAMESPACE": NAME,
            "ENABLE_LEADER_ELECTION": "false",
            "INJECT_ENABLED": "false",
            "VALIDATION_WEBHOOK_CONFIG_NAME": "",
            # Gateways name the Service of the Envoy that serves them, so that none is made for them.
            "PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER": "false",
            # Filters that only Istio's own build of Envoy has.
            "PILOT_ENABLE_ALPN_FILTER": "false",
            "PILOT_ENABLE_METADATA_EXCHANGE": "false",
        },
        needs=("kube-apiserver",),
        prepare=prepare,
        ready=lambda: ok(network.get(f"http://{LOOPBACK}:{port['debug']}/ready")),
    )


def _envoy(cluster):
    port = _ports(cluster)
    bootstrap = lambda path: Path(path).write_text(json.dumps(_bootstrap(cluster, port), indent=2))
    return envoy_of(cluster, f"{NAME}-envoy", NAME, port, bootstrap)


def _bootstrap(cluster, port):
    """Its one cluster is the control plane, which gives certificates only to who proves to be in the Gateway's namespace."""
    ads = {"ads": {}, "resource_api_version": "V3"}
    file = lambda name: {"filename": cluster.file(name)}
    certificate = {"certificate_chain": file("istio-envoy.pem"), "private_key": file("istio-envoy-key.pem")}
    tls = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "tls_certificates": [certificate],
            "validation_context": {"trusted_ca": file("istiod-ca.pem")},
        },
    }
    http2 = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    address = lambda number: {"socket_address": {"address": LOOPBACK, "port_value": number}}
    endpoint = {"endpoint": {"address": address(port["xds"])}}
    return {
        "node": {
            "id": f"router~{PROXY}~gateway.{NAME}~{NAME}.svc.cluster.local",
            "cluster": f"gateway.{NAME}",
            "metadata": {
                "CLUSTER_ID": "Kubernetes",
                "NAMESPACE": NAME,
                "SERVICE_ACCOUNT": "gateway",
                "LABELS": {"app": "gateway"},
            },
        },
        "admin": {"address": address(port["envoy_stats"])},
        "dynamic_resources": {
            "lds_config": ads,
            "cds_config": ads,
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "istiod"}}],
            },
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "istiod",
                    "connect_timeout": "1s",
                    "load_assignment": {"cluster_name": "istiod", "endpoints": [{"lb_endpoints": [endpoint]}]},
                    "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
                    "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
                }
            ]
        },
    }


def _describe(cluster):
    port = _ports(cluster)
    return {
        "class": "istio",
        "address": cluster.address,
        "http_port": port["http"],
        "https_port": port["https"],
        "listener_http_port": 80,
        "listener_https_port": 443,
        "gateways": {"namespace": NAME, "spec": f"addresses: [{{type: Hostname, value: gateway.{NAME}.svc.cluster.local}}]"},
        "listener_sets": True,
    }


CONTROLLERS = {
    # Traefik's product brings the kinds of the Gateway API.
    NAME: Controller(("istio", "traefik"), tuple(f"{NAME}_{port}" for port in PORTS), (_istiod, _envoy), _describe),
}
