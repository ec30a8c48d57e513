"""The one process that is the parent of a cluster's components, from their start until the cluster is taken down."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from string import Template

import components
import network
import node
import nodes
from controllers import chosen
from processes import Process, start
from web import page

READY_SECONDS = 60
END_SECONDS = 5
ATTEMPTS = 3
POLL_SECONDS = 0.05
IDLE_SECONDS = 0.2


class Ended(Exception):
    """The cluster was told to end, or whom it is tied to has gone."""


class Failed(Exception):
    """A component did not become ready, or ended."""

    def __init__(self, component, reason):
        super().__init__(reason)
        self.component = component


class Supervisor:
    """Starts, watches and ends the components. It has one thread only: see `tied_to_parent`."""

    def __init__(self, directory, binaries, report, lifeline, with_node, controllers=(), front=None, ip_family="ipv4"):
        self.directory = directory
        self.binaries = binaries
        self.report_to = report  # a pipe to the command that waits until all is ready
        self.lifeline = lifeline  # a pipe that is at its end once the command that we are tied to has gone
        self.with_node = with_node
        self.controllers = controllers
        self.front = front
        self.ip_family = ip_family
        self.node = None
        self.told_to_end = False
        self.processes = []  # oldest first
        self.children = {}

    def supervise(self):
        """Runs the cluster to its end, and returns the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._tell_to_end)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            if self.with_node:
                self._step("node", self._make_node)
            self._start_cluster()
            self.report("ready")
            self._watch()
        except Ended as reason:
            self.say(f"ending: {reason}")
            self._end_components()
            self._release_node()
            self.directory.remove()
            return 0
        except Failed as failure:
            self.say(f"failed: {failure}")
            # The reason first: once the components end, others may look at why.
            self.directory.write_ended(str(failure))
            self._end_components()
            self._release_node()
            self.report("failed", str(failure), component=failure.component)
            return 1

    def _make_node(self):
        programs = {path.parent for path in self.binaries.values()}
        try:
            self._make_namespaces(programs)
        except PermissionError as error:
            raise RuntimeError(f"{error.strerror}: this root lacks rights that --nodes needs (CAP_SYS_ADMIN)") from error

    def _make_namespaces(self, programs):
        self.node = node.Node.make()
        self.directory.write_node(self.node.interface)
        node.isolate(self.node.interface, {self.directory.path, components.FILES.parent, *programs})

    def _release_node(self):
        if self.node:
            self.node.release()

    def _tell_to_end(self, *_):
        self.told_to_end = True

    def _start_cluster(self):
        for attempt in range(1, ATTEMPTS + 1):
            cluster = self._plan()
            try:
                self._start_components(cluster)
                prove_routing(cluster, self._wait)
                if line := self._port_taken():  # some go on without
                    raise Failed("ports", line)
            except Failed as failure:
                if attempt == ATTEMPTS or not self._port_taken():
                    raise
                self.say(f"another program took a port; again with others ({failure})")
                self._end_components()
            else:
                self.directory.write_cluster(cluster.describe(os.getpid()))
                return

    def _plan(self):
        """An empty folder and a cluster with ports of its own."""
        self.directory.clear()
        self._write_processes()
        address = network.own_address()
        if address is None:
            raise Failed("network", "this machine has no IPv4 address but loopback, which an EndpointSlice refuses")
        address6 = network.own_address6() if self.ip_family != "ipv4" else None
        if self.ip_family != "ipv4" and address6 is None:
            raise Failed("network", "this machine has no IPv6 address but loopback and link-local ones, which an EndpointSlice refuses")
        cluster = components.Cluster(
            name=self.directory.name,
            path=self.directory.path,
            logs=self.directory.logs,
            binaries=self.binaries,
            address=address,
            ports=network.free_ports((*components.PORTS, *(port for each in chosen(self.controllers) for port in each.ports))),
            node=self.node,
            controllers=self.controllers,
            front=self.front,
            ip_family=self.ip_family,
            address6=address6,
        )
        components.prepare(cluster)
        if self.node:
            self._step("node", lambda: nodes.prepare(cluster))
        return cluster

    def _start_components(self, cluster):
        """Each starts as soon as what it needs is ready; what it does not need becomes ready meanwhile."""
        waiting = {}
        further = tuple(make for each in chosen(self.controllers) for make in each.components)
        for make in components.COMPONENTS + (nodes.COMPONENTS if self.node else ()) + further:
            component = make(cluster)
            for name in component.needs:
                self._wait_ready(waiting, name)
            self._step(component.name, component.prepare)
            self._start(component)
            waiting[component.name] = component
        for name in list(waiting):
            self._wait_ready(waiting, name)

    def _start(self, component):
        self.report("progress", f"starting {component.name}")
        with self.node.entering(component.inside) if self.node else contextlib.nullcontext() as enter:
            child = start(
                component.command,
                self.directory.log(component.name),
                environment=component.environment,
                directory=self.directory.path,
                enter=enter,
            )
        self.children[component.name] = child
        self.processes.append(Process.of(component.name, child.pid))
        self._write_processes()

    def _wait_ready(self, waiting, name):
        if component := waiting.pop(name, None):
            self._wait(component.ready, component.name)

    def _wait(self, until, component):
        deadline = time.monotonic() + READY_SECONDS
        while not until():
            self._check(POLL_SECONDS)
            if time.monotonic() > deadline:
                raise Failed(component, f"{component} was not ready after {READY_SECONDS} s")

    def _step(self, component, action):
        try:
            action()
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            raise Failed(component, f"{component}: {error}") from error

    def _watch(self):
        while True:
            self._check(IDLE_SECONDS)

    def _check(self, seconds):
        """Waits a moment, and raises when there is a reason to end."""
        if self.lifeline is None:
            time.sleep(seconds)
        elif select.select([self.lifeline], [], [], seconds)[0]:
            raise Ended("the command that this cluster is tied to has ended")
        if self.told_to_end:
            raise Ended("told to")
        for name, child in self.children.items():
            if child.poll() is not None:
                raise Failed(name, f"{name} ended with status {child.returncode}")

    def _port_taken(self):
        """The line in which a component says that a port was not free, or None."""
        logs = [self.directory.log(name) for name in self.children]
        lines = (line for log in logs for line in log.read_text(errors="replace").splitlines())
        return next((line for line in lines if "address already in use" in line.lower()), None)

    def _end_components(self):
        """Newest first, so that nobody sees what it depends on go away."""
        for process in reversed(self.processes):
            begun = time.monotonic()
            process.end(END_SECONDS)
            self.say(f"ended {process.name} in {time.monotonic() - begun:.1f} s")
        for child in self.children.values():
            child.wait()
        self.processes, self.children = [], {}
        if self.node:
            node.unmount_below(self.directory.path)

    def _write_processes(self):
        self.directory.write_processes([Process.of("supervisor", os.getpid()), *self.processes])

    def report(self, event, text="", **details):
        self.say(f"{event} {text}".strip())
        try:
            os.write(self.report_to, (json.dumps({"event": event, "text": text, **details}) + "\n").encode())
        except OSError:
            pass  # nobody waits any more

    def say(self, text):
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def prove_routing(cluster, wait):
    """An Ingress goes all the way: API server, Contour, Envoy, backend. The first ever takes seconds; later ones do not."""
    values = {"HOST": "ready.cluster.test", "ADDRESS": cluster.address, "PORT": cluster.ports["web"]}
    manifest = Template((components.FILES / "probe.yaml").read_text()).substitute(values)
    url = f"http://{cluster.address}:{cluster.ports['http']}/"

    def routed():
        return network.get(url, host=values["HOST"]) == (200, page(values["HOST"], "/"))

    try:
        components.kubectl(cluster, "apply", "-f", "-", text=manifest)
        wait(routed, "envoy")
        components.kubectl(cluster, "delete", "--wait=false", "-f", "-", text=manifest)
        wait(lambda: not routed(), "envoy")
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        raise Failed("kube-apiserver", str(error)) from error
