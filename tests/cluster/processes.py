"""Processes: how a child is started so that it cannot outlive its parent, how one is recognised, how one is ended."""

import ctypes
import os
import signal
import subprocess
import time
from dataclasses import dataclass

PR_SET_PDEATHSIG = 1
# Looked up here, since between fork and exec nothing may be loaded.
PRCTL = ctypes.CDLL(None).prctl


def tied_to_parent(death_signal=signal.SIGKILL):
    """A function to run in a new child: the kernel sends it the signal when the *thread* that started it ends. So
    children are started from a main thread, and even a parent that is killed with SIGKILL leaves nothing behind."""
    parent = Process.of("parent", os.getpid())

    def tie():
        PRCTL(PR_SET_PDEATHSIG, int(death_signal))
        # It may have ended before the kernel knew. Its id is not asked of the kernel: a namespace may hide it.
        if not parent.alive():
            os._exit(1)

    return tie


def start(command, log, environment=None, directory=None, enter=None):
    """Starts a child of this process whose output is appended to the file `log`; `enter` runs in it before its program."""
    tie = tied_to_parent()

    def prepare():
        tie()
        if enter:
            enter()

    with open(log, "ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd=directory,
            preexec_fn=prepare,
        )


@dataclass(frozen=True)
class Process:
    """A process as it is written down: its id alone may belong to a stranger by the time it is read again."""

    name: str
    pid: int
    started: int

    @classmethod
    def of(cls, name, pid):
        _, started = _state(pid) or ("", 0)
        return cls(name, pid, started)

    def alive(self):
        state = _state(self.pid)
        return state is not None and state[0] not in "ZX" and state[1] == self.started

    def send(self, number):
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass

    def end(self, patience_seconds):
        """SIGTERM, and SIGKILL to what is still there after the given time."""
        self.send(signal.SIGTERM)
        if not self._gone_within(patience_seconds):
            self.send(signal.SIGKILL)
            self._gone_within(5)

    def _gone_within(self, seconds):
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def _state(pid):
    """State letter and start time (in ticks since the machine started) of a process, or None without one."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The name, in parentheses, may hold blanks and parentheses; what follows the last one may not.
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[19])
