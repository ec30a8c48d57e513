"""The kinds of the Gateway API, for the controllers that serve them."""

from pathlib import Path

from components import kubectl


def install(cluster):
    """The standard channel. Traefik's module says which version; all its controllers here serve that."""
    files = Path(cluster.binary("gateway-crds")).glob("*_*s.yaml")
    named = [word for file in sorted(files) if "vap" not in file.name for word in ("-f", str(file))]
    kubectl(cluster, "apply", "--server-side", *named)
    kubectl(cluster, "wait", "crd", "--all", "--for=condition=Established", "--timeout=30s")
