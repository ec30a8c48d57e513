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

from build import BuildFailed, binaries, build, say
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
    parser = argparse.ArgumentParser(prog="cluster", description="A cluster for tests and for the demo, without root.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, function, text, default_name="demo", words=""):
        usage = f"cluster {name} [--name NAME]{words}" if default_name else f"cluster {name}"
        sub = commands.add_parser(name, description=text, usage=usage, **({"help": text} if text else {}))
        sub.set_defaults(command=function)
        if default_name:
            sub.add_argument("--name", type=_name, default=default_name, help="which cluster (default: %(default)s)")
        return sub

    command("build", build_all, "build or fetch the programs that are missing", default_name=None)
    command("up", lambda options: up(Directory(options.name)), "start a cluster that lives until `down`")
    command("down", lambda options: down(Directory(options.name)), "end a cluster and remove what it has stored")
    command("env", env, "print what there is to know about a cluster, as JSON")
    command("kubectl", kubectl, "run kubectl against a cluster", words=" -- ARGUMENT...")
    command("run", run, "run a command with a fresh cluster that ends with it", f"test-{os.getpid()}", " -- COMMAND...")
    inner = command("supervise", supervise, None)
    inner.add_argument("--report", type=int)
    inner.add_argument("--lifeline", type=int)
    options = parser.parse_args(arguments[:split])
    options.words = arguments[split + 1 :]
    return options


def _name(text):
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", text):
        raise argparse.ArgumentTypeError("a name is made of a-z, 0-9 and -")  # it becomes a folder's
    return text


def build_all(_):
    begun = time.monotonic()
    build()
    say(f"all programs are there ({time.monotonic() - begun:.1f} s)")


def up(directory, lifeline=None):
    """Starts a cluster, and returns when it is ready."""
    build()
    with directory.locked():
        if directory.cluster():
            say(f"the cluster `{directory.name}` is up already")
            return
        if reason := directory.ended():
            say(f"the cluster `{directory.name}` had ended: {reason}")
        _take_down(directory)
        begun = time.monotonic()
        say(f"starting the cluster `{directory.name}`")
        directory.make()
        try:
            _start_supervisor(directory, lifeline)
        except BaseException:
            _take_down(directory)
            raise
    say(f"the cluster `{directory.name}` is ready after {time.monotonic() - begun:.1f} s")


def _start_supervisor(directory, lifeline):
    reader, report = os.pipe()
    command = [sys.executable, str(ENTRY), "supervise", "--name", directory.name, "--report", str(report)]
    inherited = [report]
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
    for supervisor in directory.processes()[:1]:  # it ends its components by itself
        supervisor.end(END_SECONDS)
    for process in reversed(directory.processes()):
        process.end(patience_seconds=5)
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
        up(directory, lifeline)
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


def _up_or_refuse(options):
    directory = Directory(options.name)
    cluster = directory.cluster()
    if cluster is None:
        reason = directory.ended()
        raise Refused(f"the cluster `{options.name}` is not up" + (f": {reason}" if reason else ""))
    return cluster


def supervise(options):
    return Supervisor(Directory(options.name), binaries(), options.report, options.lifeline).supervise()
