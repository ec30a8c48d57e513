"""Ingress controllers that run beside Contour where a test asks for them: one file each, and one entry here."""

import importlib
import os
import shlex
from dataclasses import dataclass
from typing import Callable

# By the name in `--controllers`: the file. Loaded when they are asked for, since they are made of `components`.
CONTROLLERS = {
    "nginx": "nginx",
    "traefik": "traefik",
    "traefik-nginx": "traefik",
    "traefik-gateway": "traefik",
    "contour-gateway": "contour",
    "istio-gateway": "istio",
    "haproxy": "haproxy",
}


@dataclass(frozen=True)
class Controller:
    """An ingress controller as a part of the test cluster."""

    products: tuple  # the folders of tools/ that give its programs and files; what is its own comes first
    ports: tuple  # names of free ports that it needs, its own in the whole cluster
    components: tuple  # functions from a Cluster to a Component, in the order of starting
    describe: Callable  # from a Cluster to what tests get to know (`controllers` of `cluster.json`)
    packages: tuple = ()  # of Debian: unpacked beside the programs, never installed


def in_own_namespaces(mounts, command):
    """A controller's command where its mounts are seen by nobody else, and what it starts ends with it."""
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    unshare = ["unshare", *as_root, "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return [*unshare, "sh", "-ec", "\n".join([*mounts, f"exec {shlex.join(command)}"])]


def chosen(names):
    """The controllers of these names."""
    return [importlib.import_module(f"controllers.{CONTROLLERS[name]}").CONTROLLERS[name] for name in names]
