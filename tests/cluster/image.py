#!/usr/bin/env python3
"""Writes a container image of a static program as an archive, without a builder or a daemon.

The archive is one that `docker load`, `ctr images import` and `podman load` take, and an OCI layout at once. The same
input gives the same bytes: times are $SOURCE_DATE_EPOCH or 0, names are sorted, and the layer is not compressed, since
what a compressor gives depends on its version."""

import argparse
import hashlib
import io
import json
import os
import sys
import tarfile
import time
from pathlib import Path

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
# As Go, and therefore every registry, calls them.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
MACHINES = {62: "x86_64", 183: "aarch64"}  # e_machine in an ELF header
# Nobody: no file of an image belongs to this user.
USER = "65532:65532"


def write(path, reference, programs, labels=None):
    """Writes an image to `path` and returns its digest. `programs` are (name, content) of one program, for an architecture each."""
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or 0)
    blobs, manifests, legacy = {}, [], []
    for name, content in programs:
        architecture = _architecture(content)
        if architecture in [manifest["platform"]["architecture"] for manifest in manifests]:
            raise ValueError(f"two programs for {architecture}")
        config, layer, manifest = _image(name, content, architecture, labels or {}, epoch)
        blobs |= {_blob(blob): blob for blob in (config, layer, manifest)}
        manifests.append({**_descriptor(MANIFEST, manifest), "platform": {"architecture": architecture, "os": "linux"}})
        # `docker load` of old knows one architecture an image: the first.
        legacy = legacy or _json([{"Config": _blob(config), "RepoTags": [reference], "Layers": [_blob(layer)]}])
    image = manifests[0]
    if len(manifests) > 1:
        index = _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
        blobs[_blob(index)] = index
        image = _descriptor(INDEX, index)
    names = {
        "io.containerd.image.name": _full(reference),
        "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
    }
    index = _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**image, "annotations": names}]})
    files = blobs | {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": index, "manifest.json": legacy}
    archive = _tar({name: (content, 0o644) for name, content in files.items()}, epoch)
    unfinished = Path(f"{path}.unfinished")
    unfinished.write_bytes(archive)
    os.replace(unfinished, path)
    return image["digest"]


def _image(name, program, architecture, labels, epoch):
    """The config, the layer and the manifest of an image of one program."""
    layer = _tar({name: (program, 0o755)}, epoch)
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
    config = _json({
        "architecture": architecture,
        "os": "linux",
        "created": created,
        "config": {"User": USER, "Entrypoint": [f"/{name}"], "WorkingDir": "/", "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        "history": [{"created": created, "created_by": f"COPY {name} /"}],
    })
    manifest = _json({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(CONFIG, config),
        "layers": [_descriptor(LAYER, layer)],
    })
    return config, layer, manifest


def _tar(files, epoch):
    """Folders are entries of their own, so that nobody has to invent their mode."""
    output = io.BytesIO()
    folders = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    with tarfile.open(fileobj=output, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted([*files, *folders]):
            entry = tarfile.TarInfo(name)
            entry.mtime = epoch
            if name in folders:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
            else:
                content, entry.mode = files[name]
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return output.getvalue()


def _architecture(program):
    """Of a program that runs on Linux without any library, which is all that can run in an image of nothing else."""
    if program[:4] != b"\x7fELF":
        raise ValueError("this is no program for Linux")
    kinds = program_headers(program)
    if 3 in kinds:  # PT_INTERP
        raise ValueError("this program is not static: `make build` makes one that is")
    machine = int.from_bytes(program[18:20], "little")
    if machine not in MACHINES:
        raise ValueError(f"no name is known for the machine {machine} of this program")
    return ARCHITECTURES[MACHINES[machine]]


def program_headers(program):
    """The types of the program headers of a 64-bit ELF file."""
    start = int.from_bytes(program[32:40], "little")
    size = int.from_bytes(program[54:56], "little")
    count = int.from_bytes(program[56:58], "little")
    return [int.from_bytes(program[start + size * n :][:4], "little") for n in range(count)]


def _full(reference):
    """A short name as Docker means it."""
    first = reference.partition("/")[0]
    if "/" in reference and ("." in first or ":" in first or first == "localhost"):
        return reference
    return f"docker.io/{reference}" if "/" in reference else f"docker.io/library/{reference}"


def _descriptor(kind, content):
    return {"mediaType": kind, "digest": _digest(content), "size": len(content)}


def _blob(content):
    return "blobs/sha256/" + hashlib.sha256(content).hexdigest()


def _digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="the file to write")
    parser.add_argument("programs", type=Path, nargs="+", metavar="PROGRAM", help="a static program, one for each architecture")
    parser.add_argument("--reference", required=True, metavar="NAME:TAG", help="the name of the image")
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="a label of the image")
    options = parser.parse_args()
    labels = dict(label.split("=", 1) for label in options.label)
    try:
        programs = [(program.name, program.read_bytes()) for program in options.programs]
        digest = write(options.archive, options.reference, programs, labels)
    except (OSError, ValueError) as error:
        print(f"error: {options.archive}: {error}", file=sys.stderr)
        return 1
    print(f"{options.reference}, {options.archive.stat().st_size / 1e6:.1f} MB, user {USER}")
    print(f"{options.archive} {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
