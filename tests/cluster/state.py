"""Where clusters keep their files: the cache, the folder of one cluster, and the locks around both."""

import contextlib
import fcntl
import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from processes import Process


def cache():
    """Outside the checkout, so that a fresh clone finds what an older one has built."""
    own = os.environ.get("KUBE_LEGO_ONCE_CACHE")
    if own:
        return Path(own).resolve()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).resolve() / "kube-lego-once"


class Directory:
    """The folder of one cluster."""

    def __init__(self, name):
        self.name = name
        self.path = cache() / "run" / name
        self.logs = self.path / "logs"
        self.cluster_json = self.path / "cluster.json"
        self._processes_json = self.path / "processes.json"
        self._ended = self.path / "ended"
        self._node = self.path / "node"

    def locked(self):
        """Only one command at a time makes or ends a cluster of this name."""
        waiting = f"another command is busy with the cluster `{self.name}`; waiting for it to end"
        return lock(self.path.with_name(f".{self.name}.lock"), waiting=waiting, remove=True)

    def log(self, component):
        return self.logs / f"{component}.log"

    def make(self):
        """A folder that only its owner can read, since keys and tokens lie in it."""
        self.path.mkdir(parents=True, mode=0o700)
        self.logs.mkdir()

    def clear(self):
        """Removes what components have left in it, and keeps what the supervisor writes."""
        kept = (self.logs, self.log("supervisor"), self._processes_json, self._node)
        for path in (*self.logs.iterdir(), *self.path.iterdir()):
            if path.is_dir() and path not in kept:
                shutil.rmtree(path)
            elif path not in kept:
                path.unlink()

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)

    def write_processes(self, processes):
        """Oldest first; the supervisor is the first of all."""
        _write(self._processes_json, json.dumps([asdict(process) for process in processes], indent=2))

    def processes(self):
        return [Process(**fields) for fields in json.loads(_read(self._processes_json) or "[]")]

    def write_node(self, interface):
        _write(self._node, interface)

    def node(self):
        """The interface of this cluster's node, or None without one."""
        return _read(self._node)

    def write_cluster(self, cluster):
        _write(self.cluster_json, json.dumps(cluster, indent=2) + "\n")

    def cluster(self):
        """The state of a cluster that is up, or None."""
        text = _read(self.cluster_json)
        alive = any(process.alive() for process in self.processes()[:1])
        return json.loads(text) if text and alive else None

    def write_ended(self, reason):
        _write(self._ended, reason)
        self.cluster_json.unlink(missing_ok=True)

    def ended(self):
        """Why a cluster ended without having been told to, or None."""
        return _read(self._ended)


@contextlib.contextmanager
def lock(path, waiting, remove=False):
    """Holds a file lock, which the kernel lets go of however this process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = open(path, "a", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(waiting, file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        if _is_at(file, path):
            break
        file.close()  # the one who held it has removed the file: what we locked is nobody's
    try:
        yield
    finally:
        if remove:
            path.unlink(missing_ok=True)
        file.close()


def _is_at(file, path):
    with contextlib.suppress(FileNotFoundError):
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    return False


def _write(path, text):
    """A reader sees the old text or the new one, never a part."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def _read(path):
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8")
    return None
