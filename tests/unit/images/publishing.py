"""Images of a few bytes, for tests of the store that holds them."""

from innkeeper.images.manifest import Manifest
from innkeeper.images.store import Image, Store, digest_file


def publish(store: Store, name: str, content: bytes) -> Image:
    with store.building() as scratch:
        directory = scratch / "image"
        directory.mkdir()
        for file in ("kernel", "initrd", "root.img"):
            (directory / file).write_bytes(content)
        contents = Manifest(
            name=name,
            system="Test 1",
            kernel_release="1.0",
            created="2026-01-01T00:00:00+00:00",
            command_line="quiet",
            disk_size=len(content),
            files={file.name: digest_file(file) for file in directory.iterdir()},
        )
        return store.publish(directory, contents)
