"""A container's image with our kernel and agent around it, in the store."""

import datetime
import io
import os
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Final

from innkeeper.errors import HostFailure, ImageBuildFailed, InvalidInput
from innkeeper.images import cpio, kernel
from innkeeper.images.bootstrap import write_disk
from innkeeper.images.commands import require, run
from innkeeper.images.containers import blobs as places
from innkeeper.images.containers import layer as layers
from innkeeper.images.containers import packing, source, writing
from innkeeper.images.containers.blobs import Blobs, Checked
from innkeeper.images.containers.config import ContainerConfig
from innkeeper.images.containers.reference import Kind, Reference
from innkeeper.images.containers.source import Layer, Source
from innkeeper.images.containers.tree import Kind as NodeKind
from innkeeper.images.containers.tree import Node, Tree
from innkeeper.images.manifest import Manifest
from innkeeper.images.store import INITRD, KERNEL, ROOT, Image, Store, digest_file

Report = Callable[[str, float], None]

_TOOLS: Final = {
    "debugfs": "e2fsprogs",
    "mke2fs": "e2fsprogs",
    "setpriv": "util-linux",
    "tar": "tar",
}
_GIB: Final = 1 << 30
_LEAST_DISK: Final = 4 * _GIB
# mke2fs makes an inode for so many bytes of a disk.
_BYTES_PER_INODE: Final = 16384
# Content is written three times: as it comes, as one archive, and to the disk.
_COPIES: Final = 4
# What a guest's kernel, and our agent, want to find, and its mode.
_DIRECTORIES: Final = {
    "dev": 0o755,
    "etc": 0o755,
    "proc": 0o555,
    "run": 0o755,
    "sys": 0o555,
    "tmp": 0o1777,
}
_HOSTS: Final = b"127.0.0.1\tlocalhost\n::1\tlocalhost\n"
# What folders need, and no container's image has.
_FOLDER_DRIVERS: Final = "fs/fuse"
_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9._-]+")


def check(store: Store, reference: Reference) -> None:
    """
    Raises:
        InvalidInput: when `reference` names nothing that an image could be made of.
        HostFailure.
    """
    with store.building() as scratch, _opened(reference, scratch) as parts:
        source.read(parts, reference)


def build(
    store: Store,
    reference: Reference,
    base: Image,
    report: Report,
    name: str | None = None,
    *,
    anew: bool = False,
) -> Image:
    """The image that `reference` names, with the kernel of `base`. It is made if it is not in the
    store, or `anew`; `name` is what it shall be called there.

    Raises:
        InvalidInput: when it is damaged, or asks for what no file system has.
        ImageBuildFailed, HostFailure.
    """
    require(_TOOLS if os.geteuid() == 0 else {**_TOOLS, "newuidmap": "uidmap"})
    with store.building() as scratch, _opened(reference, scratch) as parts:
        found = source.read(parts, reference)
        known = None if anew else _known(store, found.digest)
        if known is not None and name in (None, known.name):
            return known
        where = f"{reference.kind}:{reference.path.absolute()}"
        called = name or _free_name(store, found, where)
        if known is not None:
            return store.call(known, called)
        finished = scratch / "image"
        finished.mkdir()
        size = _write_root(parts, found, scratch, report)
        (scratch / ROOT).rename(finished / ROOT)
        _kernel(base, finished, scratch)
        report("storing the image", 0.95)
        image = store.publish(finished, _manifest(finished, found, where, called, base, size))
        report("done", 1.0)
        return image


def _opened(reference: Reference, scratch: Path) -> AbstractContextManager[Blobs]:
    archive = reference.kind is not Kind.OCI
    return places.opened(reference.path, scratch, archive=archive)


def _known(store: Store, digest: str) -> Image | None:
    return next((each for each in store.images() if each.manifest.source_digest == digest), None)


def _free_name(store: Store, found: Source, where: str) -> str:
    """As the image calls itself, unless that is another's name."""
    stem = _NOT_IN_NAMES.sub("-", found.name.lower()).strip("._-")[:50] or "container"
    taken = {image.name: image.manifest.source for image in store.images()}
    # Names of what can be built here are for that.
    from innkeeper.images.catalog import RECIPES

    if stem not in RECIPES and taken.get(stem, where) == where:
        return stem
    return f"{stem}-{found.digest.partition(':')[2][:8]}"


def _write_root(parts: Blobs, found: Source, scratch: Path, report: Report) -> int:
    """Makes root.img; its size."""
    tree = Tree()
    room = shutil.disk_usage(scratch).free // _COPIES
    path = scratch / "contents"
    try:
        with path.open("w+b") as file:
            contents = layers.Contents(file, min(room, packing.LARGEST))
            for number, each in enumerate(found.layers):
                report(
                    f"layer {number + 1} of {len(found.layers)}", 0.6 * number / len(found.layers)
                )
                apply(parts, each, number, tree, contents)
            _furnish(tree, len(found.layers), found.config, contents)
            report("writing one archive", 0.6)
            writing.write(tree, file, scratch / "root.tar", lambda _done: None)
            size = _disk_size(contents.size, tree.count)
    except OSError as error:
        raise HostFailure(f"cannot write the image's files: {error.strerror}") from error
    path.unlink()
    report("writing the root disk", 0.8)
    write_disk(scratch, size, ":")
    return size


def apply(parts: Blobs, layer: Layer, number: int, tree: Tree, contents: layers.Contents) -> None:
    what = layer.digest or layer.file
    if parts.size(layer.file) != layer.size:
        raise InvalidInput(f"the layer {what} is not as long as the image says")
    with parts.open(layer.file) as packed:
        whole = Checked(packed, layer.digest, f"the layer {what}") if layer.digest else None
        try:
            content = Checked(packing.unpacked(whole or packed), layer.content, f"the layer {what}")
            stream = packing.Bounded(content)
            layers.apply(stream, number, tree, contents)
            stream.drain()
        except packing.Broken as error:
            raise InvalidInput(f"the layer {what} is damaged: {error}") from error
        content.finish()
        if whole is not None:
            whole.finish()


def _furnish(tree: Tree, number: int, config: ContainerConfig, contents: layers.Contents) -> None:
    """With what a container has from whoever runs it, as another layer."""
    for name, mode in _DIRECTORIES.items():
        if tree.directory(name) is None:
            tree.make_directory(name, number).mode = mode
    for name, content in (("etc/hosts", _HOSTS), ("etc/resolv.conf", b"")):
        if tree.find(name) is None:
            node = Node(kind=NodeKind.FILE, layer=number, mode=0o644)
            node.at, node.size = contents.add(io.BytesIO(content))
            tree.put(name, node)
    if config.cwd.startswith("/") and tree.directory(config.cwd) is None:
        tree.make_directory(config.cwd, number)


def _disk_size(content: int, nodes: int) -> int:
    """Bytes: with as much room again, and a GiB."""
    wanted = max(2 * content + _GIB, 2 * nodes * _BYTES_PER_INODE, _LEAST_DISK)
    return -(-wanted // _GIB) * _GIB


def _kernel(base: Image, finished: Path, scratch: Path) -> None:
    place = f"/usr/lib/modules/{base.manifest.kernel_release}/kernel/{_FOLDER_DRIVERS}"
    try:
        _same(base.kernel, finished / KERNEL)
        content = base.initrd.read_bytes()
        run(["debugfs", "-R", f"rdump {place} {scratch}", str(base.root)])
        order = kernel.module_order(scratch, ["virtiofs"])
        modules = {f"modules/{path.stem}": kernel.read_module(path) for path in order}
        listing = "".join(f"/{name}\n" for name in modules)
        files = {**modules, "modules/folders": listing.encode()}
        (finished / INITRD).write_bytes(content + bytes(-len(content) % 4) + cpio.archive(files))
    except OSError as error:
        raise ImageBuildFailed(
            f"cannot take the kernel of {base.name}: {error.strerror}"
        ) from error


def _same(file: Path, target: Path) -> None:
    """Files of images are never written to: one may be in several."""
    try:
        target.hardlink_to(file)
    except OSError:
        shutil.copyfile(file, target)


def _manifest(
    finished: Path, found: Source, where: str, name: str, base: Image, size: int
) -> Manifest:
    return replace(
        base.manifest,
        name=name,
        system=f"container {found.name}",
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        disk_size=size,
        files={file: digest_file(finished / file) for file in (KERNEL, INITRD, ROOT)},
        source=where,
        source_digest=found.digest,
        container=found.config,
    )
