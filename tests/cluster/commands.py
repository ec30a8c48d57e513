"""The commands of `cluster`."""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import node
import nodes
from build import BuildFailed, binaries, build, say
from components import FAMILIES
from controllers import CONTROLLERS
from processes import Process, tied_to_parent
from state import Directory
from supervisor import Supervisor

ENTRY = Path(__file__).resolve().with_name("cluster")
# Longer than the supervisor needs for all of its components.
END_SECONDS = 40
LOG_LINES = 25


class Refused(Exception):
    """What the user asked for cannot be done; the text says why."""


def main(arguments):
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)
    try:
        if sys.platform != "linux":
            raise Refused("this needs Linux: its processes are tied together by what only Linux has")
        return options.command(options) or 0
    except (Refused, BuildFailed) as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def _stop(*_):
    """Asked to stop: whatever is going on unwinds, as it does for Ctrl-C."""
    raise KeyboardInterrupt


def _parse(arguments):
    # What follows the first `--` is another program's, whatever it looks like.
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(prog="cluster", description="A cluster for tests and for the demo.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, function, text, default_name="demo", words="", with_nodes=False):
        usage = f"cluster {name}" + " [--nodes] [--ip-family FAMILY] [--controllers NAME,... [--front NAME]]" * with_nodes + " [--name NAME]" * bool(default_name) + words
        sub = commands.add_parser(name, description=text, usage=usage, **({"help": text} if text else {}))
        sub.set_defaults(command=function)
        if default_name:
            sub.add_argument("--name", type=_name, default=default_name, help="which cluster (default: %(default)s)")
        if with_nodes:
            sub.add_argument("--nodes", action="store_true", help="with a node that runs Pods; needs root")
            text = "the addresses of Services and of the controller: %(choices)s (default: %(default)s)"
            sub.add_argument("--ip-family", choices=tuple(FAMILIES), default="ipv4", metavar="FAMILY", help=text)
            text = "one of them to which all names lead, and the CA's requests with them, instead of Contour"
            sub.add_argument("--front", metavar="NAME", help=text)
            text = "with these ingress controllers beside Contour: " + ", ".join(CONTROLLERS)
            sub.add_argument("--controllers", type=_controllers, default=(), metavar="NAME,...", help=text)
        return sub

    command("build", build_all, "build or fetch the programs that are missing", None, with_nodes=True)
    start = "start a cluster that lives until `down`"
    command("up", lambda options: up(Directory(options.name), options), start, with_nodes=True)
    command("down", lambda options: down(Directory(options.name)), "end a cluster and remove what it has stored")
    command("env", env, "print what there is to know about a cluster, as JSON")
    command("kubectl", kubectl, "run kubectl against a cluster", words=" -- ARGUMENT...")
    fresh = "run a command with a fresh cluster that ends with it"
    command("run", run, fresh, f"test-{os.getpid()}", " -- COMMAND...", with_nodes=True)
    load = command("load-image", load_image, "give an image to a cluster with a node", words=" FILE.tar")
    load.add_argument("archive", type=Path, metavar="FILE.tar")
    inner = command("supervise", supervise, None, with_nodes=True)
    inner.add_argument("--report", type=int)
    inner.add_argument("--lifeline", type=int)
    options = parser.parse_args(arguments[:split])
    options.words = arguments[split + 1 :]
    return options


def _name(text):
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", text):
        raise argparse.ArgumentTypeError("a name is made of a-z, 0-9 and -")  # it becomes a folder's
    return text


def _controllers(text):
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in CONTROLLERS]:
        raise argparse.ArgumentTypeError(f"no such controller: {', '.join(unknown)} (there are {', '.join(CONTROLLERS)})")
    return names


def build_all(options):
    begun = time.monotonic()
    build(options.nodes, options.controllers)
    say(f"all programs are there ({time.monotonic() - begun:.1f} s)")


def up(directory, options, lifeline=None):
    """Starts a cluster, and returns when it is ready."""
    with_node = options.nodes
    if options.front and options.front not in options.controllers:
        raise Refused(f"`--front {options.front}` is not among the `--controllers`")
    if options.ip_family != "ipv4" and (with_node or options.controllers):
        raise Refused(f"`--ip-family {options.ip_family}` is for Contour without nodes: a node and the other controllers have IPv4 only")
    if with_node and os.geteuid():
        raise Refused("--nodes needs root, for the network and the containers of a node; without it, none is needed")
    build(with_node, options.controllers)
    with directory.locked():
        if running := directory.cluster():
            if with_node and not running["nodes"]:
                raise Refused(f"the cluster `{directory.name}` is up already, without a node; end it first (`down`)")
            if missing := [name for name in options.controllers if name not in running["controllers"]]:
                raise Refused(f"the cluster `{directory.name}` is up already, without {', '.join(missing)}; end it first (`down`)")
            if running["ip_family"] != options.ip_family:
                raise Refused(f"the cluster `{directory.name}` is up already, with {running['ip_family']}; end it first (`down`)")
            say(f"the cluster `{directory.name}` is up already")
            return
        if reason := directory.ended():
            say(f"the cluster `{directory.name}` had ended: {reason}")
        _take_down(directory)
        begun = time.monotonic()
        say(f"starting the cluster `{directory.name}`" + ", with a node" * with_node)
        directory.make()
        try:
            _start_supervisor(directory, options, lifeline)
        except BaseException:
            _take_down(directory)
            raise
    say(f"the cluster `{directory.name}` is ready after {time.monotonic() - begun:.1f} s")


def _start_supervisor(directory, options, lifeline):
    reader, report = os.pipe()
    command = [sys.executable, str(ENTRY), "supervise", "--name", directory.name, "--report", str(report)]
    inherited = [report]
    if options.nodes:
        command.append("--nodes")
    if options.controllers:
        command += ["--controllers", ",".join(options.controllers)]
    if options.front:
        command += ["--front", options.front]
    command += ["--ip-family", options.ip_family]
    if lifeline is not None:
        command += ["--lifeline", str(lifeline)]
        inherited.append(lifeline)
    with open(directory.log("supervisor"), "wb") as log:
        # A session of its own: neither Ctrl-C nor the end of a terminal reaches it.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=inherited, start_new_session=True
        )
    directory.write_processes([Process.of("supervisor", process.pid)])
    os.close(report)
    with open(reader, encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            if event["event"] == "ready":
                return
            if event["event"] == "failed":
                raise Refused(event["text"] + _tail(directory.log(event["component"])))
            say(f"  {event['text']}")
    raise Refused("the supervisor ended" + _tail(directory.log("supervisor")))


def _tail(log):
    if not log.exists():
        return ""
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    return f"\nthe last lines of {log.name}:\n" + "\n".join(f"  {line}" for line in lines)


def down(directory):
    with directory.locked():
        existed = directory.path.exists()
        _take_down(directory)
    say(f"the cluster `{directory.name}` is down" if existed else f"there is no cluster `{directory.name}`")


def _take_down(directory):
    """Ends what is there, also what a supervisor that was killed has left, and removes the folder."""
    interface = directory.node()
    for supervisor in directory.processes()[:1]:  # it ends its components by itself
        supervisor.end(END_SECONDS)
    for process in reversed(directory.processes()):
        process.end(patience_seconds=5)
    if interface:
        node.wait_until_gone(interface)
    node.remove_cgroups()
    directory.remove()


def run(options):
    """The cluster is tied to this process by a pipe: however this process ends, the supervisor sees the end of it."""
    if not options.words:
        raise Refused("no command: `cluster run -- COMMAND...`")
    directory = Directory(options.name)
    if directory.cluster():
        raise Refused(f"the cluster `{directory.name}` is up already; `run` makes its own")
    lifeline, held = os.pipe()
    try:
        up(directory, options, lifeline)
        os.close(lifeline)
        status = _run_command(options.words, directory)
        if reason := directory.ended():
            say(f"error: the cluster `{directory.name}` ended before the command did: {reason}")
            return status or 1
        return status
    finally:
        down(directory)
        os.close(held)


def _run_command(words, directory):
    environment = {**os.environ, "KUBE_LEGO_ONCE_CLUSTER": str(directory.cluster_json)}
    try:
        child = subprocess.Popen(words, env=environment, preexec_fn=tied_to_parent(signal.SIGTERM))
    except OSError as error:
        raise Refused(f"`{words[0]}` did not start: {error.strerror}") from error
    # Ctrl-C reaches the command by itself, as a member of the terminal's foreground; it says when it is done.
    signal.signal(signal.SIGINT, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: child.send_signal(number))
    status = child.wait()
    return status if status >= 0 else 128 - status


def env(options):
    _up_or_refuse(options)
    print(Directory(options.name).cluster_json.read_text(), end="")


def kubectl(options):
    cluster = _up_or_refuse(options)
    # What kubectl remembers of a server goes by its port, which was another cluster's before and will be again.
    cache = str(Directory(options.name).path / "kubectl")
    environment = {**os.environ, "KUBECONFIG": cluster["kubeconfig"], "KUBECACHEDIR": cache}
    os.execve(cluster["kubectl"], [cluster["kubectl"], *options.words], environment)


def load_image(options):
    cluster = _up_or_refuse(options)
    if not cluster["nodes"]:
        raise Refused(f"the cluster `{options.name}` has no node: start it with `up --nodes`")
    try:
        print(nodes.load_image(cluster["ctr"], cluster["containerd_socket"], options.archive), end="")
    except RuntimeError as error:
        raise Refused(str(error)) from error


def _up_or_refuse(options):
    directory = Directory(options.name)
    cluster = directory.cluster()
    if cluster is None:
        reason = directory.ended()
        raise Refused(f"the cluster `{options.name}` is not up" + (f": {reason}" if reason else ""))
    return cluster


def supervise(options):
    programs = binaries(options.nodes, options.controllers)
    ends = (options.report, options.lifeline)
    return Supervisor(Directory(options.name), programs, *ends, options.nodes, options.controllers, options.front, options.ip_family).supervise()
