"""What an image is made of: its configuration, and its layers from the lowest on.

Spec: OCI Image Format Specification, "Image Layout", "Image Index", "Image
Manifest"; for docker-archive the Docker Image Specification v1.2, "Combined Image JSON + Filesystem
Changeset Format".
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from innkeeper.errors import InvalidInput, NotFound
from innkeeper.images.containers import config
from innkeeper.images.containers.blobs import Blobs, document, place
from innkeeper.images.containers.config import ContainerConfig
from innkeeper.images.containers.reference import Kind, Reference

_MOST_LAYERS: Final = 512
_MOST_MANIFESTS: Final = 4096
# Of all that an image's index leads to.
_MOST_INDEXES: Final = 64
# Indexes in one another.
_DEEPEST: Final = 4
_TAG: Final = "org.opencontainers.image.ref.name"
_INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
# Layers that are somewhere else, which registries leave out.
_FOREIGN: Final = ("nondistributable", "foreign")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """`file` is where it is, `digest` of it as it is packed, if somebody said so; `content` of what
    is in it."""

    file: str
    size: int
    digest: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """`name` is what the image calls itself, if it does; `digest` is of what names all its
    parts."""

    name: str
    digest: str
    config: ContainerConfig
    layers: tuple[Layer, ...]


def read(blobs: Blobs, reference: Reference) -> Source:
    """
    Raises:
        InvalidInput: when there is no such image, or nothing that we could run.
    """
    try:
        if reference.kind is Kind.DOCKER_ARCHIVE:
            return _docker(blobs, reference)
        return _layout(blobs, reference)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError) as error:
        raise InvalidInput(f"the image in {reference.path} is damaged: {error!r}") from error


def _layout(blobs: Blobs, reference: Reference) -> Source:
    version = _json(document(blobs, "oci-layout"), "oci-layout")["imageLayoutVersion"]
    if not str(version).startswith("1."):
        raise InvalidInput(f"{reference.path} is an image layout of the unknown version {version}")
    index = _json(document(blobs, "index.json"), "index.json")
    found = _manifests(blobs, index)
    if reference.tag:
        found = [each for each in found if _is_called(each, reference.tag)]
    if not found:
        called = f" called {reference.tag}" if reference.tag else ""
        raise NotFound(f"{reference.path} has no image{called} for linux/amd64")
    digests = {each["digest"] for each in found}
    if len(digests) > 1:
        known = (
            ", ".join(sorted({tag for each in found if (tag := _tag(each))})) or "none has a tag"
        )
        raise InvalidInput(
            f"{reference.path} has several images: say which, as in "
            f"{reference.kind}:PATH:TAG ({known})"
        )
    return _manifest(blobs, found[0], reference)


def _manifests(
    blobs: Blobs,
    index: dict[str, Any],
    tag: str = "",
    depth: int = 0,
    seen: list[str] | None = None,
) -> list[dict[str, str]]:
    """The manifests of this index and those in it that are for our kind of machine. One in an index
    that has a tag is called so, too."""
    seen = [] if seen is None else seen
    listed = index["manifests"]
    if not isinstance(listed, list) or len(listed) > _MOST_MANIFESTS or depth > _DEEPEST:
        raise InvalidInput("the image's index is damaged")
    found: list[dict[str, str]] = []
    for each in listed:
        called = (each.get("annotations") or {}).get(_TAG) or tag
        kind = each.get("mediaType", _MANIFESTS[0])
        if kind in _INDEXES:
            seen.append(called)
            if len(seen) > _MOST_INDEXES:
                raise InvalidInput("the image's index is damaged")
            inner = _json(_blob(blobs, each), "an index")
            found += _manifests(blobs, inner, called, depth + 1, seen)
        elif kind in _MANIFESTS and _is_ours(each.get("platform")):
            found.append({**each, _TAG: called})
    if len(found) > _MOST_MANIFESTS:
        raise InvalidInput("the image's index is damaged")
    return found


def _is_ours(platform: Mapping[str, str] | None) -> bool:
    """Without one, the configuration says it."""
    return platform is None or (platform["os"], platform["architecture"]) == ("linux", "amd64")


def _tag(manifest: Mapping[str, str]) -> str:
    return str(manifest[_TAG])


def _is_called(manifest: Mapping[str, str], tag: str) -> bool:
    # Some write the whole name in place of the tag.
    return _tag(manifest) == tag or _tag(manifest).rpartition(":")[2] == tag


def _manifest(blobs: Blobs, descriptor: Mapping[str, str], reference: Reference) -> Source:
    manifest = _json(_blob(blobs, descriptor), "the manifest")
    image = _json(_blob(blobs, manifest["config"]), "the configuration")
    contents = _contents(image)
    listed = manifest["layers"]
    if len(listed) != len(contents):
        raise InvalidInput("the image's manifest and its configuration have different layers")
    layers = []
    for each, content in zip(listed, contents, strict=True):
        if any(word in each.get("mediaType", "") for word in _FOREIGN) and each.get("urls"):
            raise InvalidInput(f"the layer {each['digest']} is not in {reference.path}")
        if not isinstance(each["size"], int):
            raise InvalidInput("the image's manifest is damaged")
        file = place(each["digest"])
        layers.append(Layer(file=file, size=each["size"], digest=each["digest"], content=content))
    tag = _tag(descriptor)
    stem = reference.path.name if reference.kind is Kind.OCI else reference.path.stem
    return Source(
        # The current directory has no name here.
        name=_name(tag)
        if "/" in tag or ":" in tag
        else _name(f"{stem or reference.path.resolve().name}:{tag}"),
        digest=descriptor["digest"],
        config=_checked(image),
        layers=tuple(layers),
    )


def _docker(blobs: Blobs, reference: Reference) -> Source:
    listed = json.loads(document(blobs, "manifest.json"))
    if reference.tag:
        wanted = {reference.tag, f"{reference.tag}:latest"}
        found = [
            each
            for each in listed
            for tag in each.get("RepoTags") or ()
            if tag in wanted or tag.rpartition(":")[2] == reference.tag
        ]
    else:
        found = list(listed)
    if not found:
        raise NotFound(f"{reference.path} has no image called {reference.tag}")
    if len({each["Config"] for each in found}) > 1:
        known = ", ".join(tag for each in found for tag in each.get("RepoTags") or ())
        raise InvalidInput(
            f"{reference.path} has several images: say which, as in "
            f"{reference.kind}:PATH:TAG ({known})"
        )
    chosen = found[0]
    raw = document(blobs, chosen["Config"])
    image = _json(raw, "the configuration")
    contents = _contents(image)
    if len(chosen["Layers"]) != len(contents):
        raise InvalidInput("the image's manifest and its configuration have different layers")
    tags = chosen.get("RepoTags") or [reference.path.stem]
    return Source(
        name=_name(str(tags[0])),
        # What Docker calls the image's id.
        digest=f"sha256:{hashlib.sha256(raw).hexdigest()}",
        config=_checked(image),
        layers=tuple(
            Layer(file=file, size=blobs.size(file), digest="", content=content)
            for file, content in zip(chosen["Layers"], contents, strict=True)
        ),
    )


def _contents(image: Mapping[str, Any]) -> list[str]:
    """The digests of the layers' contents, by the configuration."""
    rootfs = image["rootfs"]
    contents = rootfs["diff_ids"]
    if not isinstance(contents, list) or len(contents) > _MOST_LAYERS:
        raise InvalidInput(f"an image has at most {_MOST_LAYERS} layers")
    for each in contents:
        place(each)
    return contents


def _checked(image: Mapping[str, object]) -> ContainerConfig:
    system, processor = image.get("os", "linux"), image.get("architecture", "amd64")
    if (system, processor) != ("linux", "amd64"):
        raise InvalidInput(f"the image is for {system}/{processor}, and guests are linux/amd64")
    return config.parse(image)


def _blob(blobs: Blobs, descriptor: Mapping[str, str]) -> bytes:
    digest = descriptor["digest"]
    data = document(blobs, place(digest))
    if hashlib.new(digest.partition(":")[0], data).hexdigest() != digest.partition(":")[2]:
        raise InvalidInput(f"a part of the image does not have the digest {digest}")
    return data


def _json(data: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{what} of the image is no JSON") from error
    if not isinstance(found, dict):
        raise InvalidInput(f"{what} of the image is no object")
    return found


def _name(text: str) -> str:
    """`docker.io/library/nginx:1.27` is nginx-1.27."""
    name, _, tag = text.rpartition("/")[2].partition(":")
    return name if tag in ("", "latest") else f"{name}-{tag}"
