"""Containers' images as others write them: OCI layouts and archives of docker save."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_REF = "org.opencontainers.image.ref.name"


@dataclass(kw_only=True)
class Entry:
    """Of a layer. A name that ends in a slash is a directory; with `link`, it is a link."""

    name: str
    content: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    link: str = ""
    kind: bytes = b""
    xattrs: dict[str, str] = field(default_factory=dict)

    def member(self) -> tarfile.TarInfo:
        member = tarfile.TarInfo(self.name)
        member.type = self.kind or (tarfile.DIRTYPE if self.name.endswith("/") else tarfile.REGTYPE)
        member.mode, member.uid, member.gid = self.mode, self.uid, self.gid
        member.linkname, member.size = self.link, len(self.content)
        member.pax_headers = {f"SCHILY.xattr.{name}": each for name, each in self.xattrs.items()}
        return member


def layer(*entries: Entry) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            archive.addfile(entry.member(), io.BytesIO(entry.content))
    return file.getvalue()


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def configuration(layers: Sequence[bytes], config: dict[str, Any] | None = None) -> bytes:
    document = {
        "os": "linux",
        "architecture": "amd64",
        "config": config or {},
        "rootfs": {"type": "layers", "diff_ids": [digest(each) for each in layers]},
    }
    return json.dumps(document).encode()


class Layout:
    """An OCI image layout in `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._manifests: list[dict[str, Any]] = []
        (path / "blobs" / "sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self._write_index()

    def blob(self, data: bytes, kind: str = "") -> dict[str, Any]:
        (self.path / "blobs" / "sha256" / digest(data).partition(":")[2]).write_bytes(data)
        return {"mediaType": kind, "digest": digest(data), "size": len(data)}

    def add(
        self,
        layers: Sequence[bytes],
        config: dict[str, Any] | None = None,
        *,
        tag: str = "",
        packed: str = "gzip",
        platform: dict[str, str] | None = None,
    ) -> str:
        """The manifest's digest."""
        pack = {"gzip": gzip.compress, "zstd": zstandard.compress, "": bytes}[packed]
        kind = f"application/vnd.oci.image.layer.v1.tar{'+' if packed else ''}{packed}"
        manifest = {
            "schemaVersion": 2,
            "config": self.blob(configuration(layers, config)),
            "layers": [self.blob(pack(each), kind) for each in layers],
        }
        described = self.blob(json.dumps(manifest).encode(), _MANIFEST)
        if tag:
            described["annotations"] = {_REF: tag}
        if platform:
            described["platform"] = platform
        self._manifests.append(described)
        self._write_index()
        return str(described["digest"])

    def nest(self, tag: str) -> None:
        """What is there so far goes into an index of its own, which has the tag."""
        inner = {"schemaVersion": 2, "manifests": self._manifests}
        described = self.blob(json.dumps(inner).encode(), _INDEX)
        self._manifests = [{**described, "annotations": {_REF: tag}}]
        self._write_index()

    def _write_index(self) -> None:
        index = {"schemaVersion": 2, "manifests": self._manifests}
        (self.path / "index.json").write_text(json.dumps(index))


def docker_archive(
    path: Path, layers: Sequence[bytes], config: dict[str, Any] | None = None, tag: str = "box:1"
) -> None:
    raw = configuration(layers, config)
    name = f"{digest(raw).partition(':')[2]}.json"
    files = {f"{number}/layer.tar": each for number, each in enumerate(layers)}
    manifest = [{"Config": name, "RepoTags": [tag], "Layers": list(files)}]
    with tarfile.open(path, "w") as archive:
        for each, data in {
            **files,
            name: raw,
            "manifest.json": json.dumps(manifest).encode(),
        }.items():
            member = tarfile.TarInfo(each)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
