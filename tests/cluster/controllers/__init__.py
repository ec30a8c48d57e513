"""Ingress controllers that run beside Contour where a test asks for them. One file each; a further one is one more entry."""

from dataclasses import dataclass
from typing import Callable

CONTROLLERS = {}


@dataclass(frozen=True)
class Controller:
    """An ingress controller as a part of the test cluster. Each has an address of loopback of its own, as each has a Service
    of its own in a real cluster, and serves HTTP and HTTPS there."""

    name: str  # as in `--controllers`, and in the names of its IngressClass and of its components
    product: str  # the folder of tools/ that gives its program
    ports: tuple  # names of free ports that it needs, unique in the cluster
    components: tuple  # functions from a Cluster to a Component, in the order of starting
    describe: Callable  # from a Cluster to what tests get to know (`controllers` of `cluster.json`)


def chosen(names):
    return [CONTROLLERS[name] for name in names]
