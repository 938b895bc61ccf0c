"""Which image is meant, and whether it is what it says."""

import gzip
import json
import tarfile
from pathlib import Path

import pytest
from tests.unit.images.containers.layouts import Entry, Layout, digest, docker_archive, layer

from innkeeper.errors import InvalidInput
from innkeeper.images.containers import blobs, building, config, source
from innkeeper.images.containers.config import ContainerConfig
from innkeeper.images.containers.layer import Contents
from innkeeper.images.containers.reference import Kind, is_reference, parse_reference
from innkeeper.images.containers.source import Source
from innkeeper.images.containers.tree import Tree

A, B = layer(Entry(name="a", content=b"a")), layer(Entry(name="b", content=b"b"))


def read(text: str, tmp_path: Path) -> Source:
    reference = parse_reference(text)
    archive = reference.kind is not Kind.OCI
    with blobs.opened(reference.path, tmp_path, archive=archive) as parts:
        found = source.read(parts, reference)
        tree = Tree()
        with (tmp_path / "contents").open("w+b") as file:
            for number, each in enumerate(found.layers):
                building.apply(parts, each, number, tree, Contents(file, 1 << 20))
        return found


@pytest.mark.parametrize("packed", ["gzip", "zstd", ""])
def test_a_layout_with_one_image_needs_no_tag(tmp_path: Path, packed: str) -> None:
    known = Layout(tmp_path / "box").add([A, B], {"Cmd": ["sh"], "User": "1:2"}, packed=packed)
    found = read(f"oci:{tmp_path}/box", tmp_path)
    assert (found.digest, found.name, len(found.layers)) == (known, "box", 2)
    assert found.config == ContainerConfig(command=("sh",), user="1:2")


def test_a_tag_says_which(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "box")
    layout.add([A], tag="one")
    two = layout.add([B], tag="two")
    found = read(f"oci:{tmp_path}/box:two", tmp_path)
    assert (found.digest, found.name) == (two, "box-two")
    with pytest.raises(InvalidInput, match=r"several images: .*\(one, two\)"):
        read(f"oci:{tmp_path}/box", tmp_path)
    with pytest.raises(InvalidInput, match="no image called three"):
        read(f"oci:{tmp_path}/box:three", tmp_path)


def test_of_many_platforms_ours_is_taken(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "box")
    layout.add([A], platform={"os": "linux", "architecture": "arm64"})
    ours = layout.add([B], platform={"os": "linux", "architecture": "amd64"})
    layout.nest("docker.io/library/box:3")
    for tag in ("", ":3", ":docker.io/library/box:3"):
        found = read(f"oci:{tmp_path}/box{tag}", tmp_path)
        assert (found.digest, found.name) == (ours, "box-3")


def test_an_archive_of_docker(tmp_path: Path) -> None:
    docker_archive(tmp_path / "x.tar", [A, B], {"Entrypoint": "run"}, tag="a/b/nginx:latest")
    found = read(f"docker-archive:{tmp_path}/x.tar", tmp_path)
    assert (found.name, found.config.entrypoint) == ("nginx", ("run",))
    assert read(f"docker-archive:{tmp_path}/x.tar:a/b/nginx", tmp_path) == found
    packed = tmp_path / "x.tgz"
    packed.write_bytes(gzip.compress((tmp_path / "x.tar").read_bytes()))
    assert read(f"docker-archive:{packed}", tmp_path) == found


def test_a_layout_in_an_archive_whose_members_are_links(tmp_path: Path) -> None:
    Layout(tmp_path / "box").add([A], packed="")
    blob = tmp_path / "box" / "blobs" / "sha256" / digest(A).partition(":")[2]
    blob.rename(tmp_path / "box" / "layer")
    blob.symlink_to("../../layer")
    with tarfile.open(tmp_path / "box.tar", "w") as archive:
        archive.add(tmp_path / "box", "./")
    assert read(f"oci-archive:{tmp_path}/box.tar", tmp_path).name == "box"


def test_a_link_that_leads_out_of_a_layout_is_not_followed(tmp_path: Path) -> None:
    Layout(tmp_path / "box").add([A], packed="")
    blob = tmp_path / "box" / "blobs" / "sha256" / digest(A).partition(":")[2]
    blob.rename(tmp_path / "layer")
    blob.symlink_to(tmp_path / "layer")
    with pytest.raises(InvalidInput, match="is no file of this image"):
        read(f"oci:{tmp_path}/box", tmp_path)


@pytest.mark.parametrize("packed", ["gzip", "zstd", ""])
def test_an_altered_layer_is_refused(tmp_path: Path, packed: str) -> None:
    Layout(tmp_path / "box").add([A], packed=packed)
    blobs_directory = tmp_path / "box" / "blobs" / "sha256"
    largest = max(blobs_directory.iterdir(), key=_is_layer)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    with pytest.raises(InvalidInput, match=r"does not have the digest|is damaged"):
        read(f"oci:{tmp_path}/box", tmp_path)


def _is_layer(path: Path) -> bool:
    return not path.read_bytes().startswith(b"{")


def test_a_layer_that_is_none_of_the_configurations_is_refused(tmp_path: Path) -> None:
    docker_archive(tmp_path / "x.tar", [A])
    altered = (tmp_path / "x.tar").read_bytes().replace(A, B)
    (tmp_path / "x.tar").write_bytes(altered)
    with pytest.raises(InvalidInput, match="does not have the digest"):
        read(f"docker-archive:{tmp_path}/x.tar", tmp_path)


@pytest.mark.parametrize("name", ["index.json", "oci-layout"])
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"manifests": [1]}', "[" * 100_000, "null"])
def test_documents_that_are_none(tmp_path: Path, name: str, text: str) -> None:
    Layout(tmp_path / "box").add([A])
    (tmp_path / "box" / name).write_text(text)
    with pytest.raises(InvalidInput):
        read(f"oci:{tmp_path}/box", tmp_path)


def test_references() -> None:
    assert is_reference("oci:x")
    assert is_reference("docker-archive:x.tar")
    assert not is_reference("debian")
    assert not is_reference("oci")
    with pytest.raises(InvalidInput, match="no such file"):
        parse_reference("oci:/nowhere:tag")
    with pytest.raises(InvalidInput, match="is no container's image"):
        parse_reference("oci:")


def test_a_path_may_have_colons(tmp_path: Path) -> None:
    (tmp_path / "a:b").mkdir()
    found = parse_reference(f"oci:{tmp_path}/a:b:c:d")
    assert (found.path, found.tag) == (tmp_path / "a:b", "c:d")


def test_what_a_container_runs() -> None:
    both = ContainerConfig(entrypoint=("e", "1"), command=("c",))
    assert both.argv(()) == ("e", "1", "c")
    assert both.argv(("x", "y")) == ("e", "1", "x", "y")
    assert both.argv(("x",), "other") == ("other", "x")
    assert both.argv(("x",), "") == ("x",)
    with pytest.raises(InvalidInput, match="names no command"):
        both.argv((), "")


def test_a_configuration_is_kept_with_its_image() -> None:
    told = {
        "config": {
            "Env": ["A=b=c", "nothing"],
            "ExposedPorts": {"53/udp": {}, "80": {}, "7/sctp": {}, "99999/tcp": {}},
            "WorkingDir": "/srv",
            "Labels": {"a": "b"},
        }
    }
    found = config.parse(told)
    assert (found.env, found.ports, found.cwd) == (("A=b=c",), ("53/udp", "80/tcp"), "/srv")
    stored = json.loads(json.dumps({**_fields(found)}))
    assert config.decode(stored) == found


def _fields(found: ContainerConfig) -> dict[str, object]:
    return {name: getattr(found, name) for name in found.__dataclass_fields__}


@pytest.mark.parametrize(
    "wrong", [{"Cmd": 1}, {"Cmd": [1]}, {"User": ["x"]}, {"ExposedPorts": []}, {"Env": ["A=\0"]}]
)
def test_a_configuration_that_is_none(wrong: dict[str, object]) -> None:
    if wrong == {"ExposedPorts": []}:
        # What is empty is nothing.
        assert config.parse({"config": wrong}).ports == ()
        return
    with pytest.raises(InvalidInput):
        config.parse({"config": wrong})
