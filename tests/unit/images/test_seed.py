"""What cloud-init is told, and what is refused before a guest is there to be told it."""

import io
import json
from pathlib import Path

import pycdlib
import pytest

from innkeeper.errors import InvalidInput
from innkeeper.images import seed
from innkeeper.machine import SeedSpec

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA someone"


def file(directory: Path, text: str, name: str = "file") -> Path:
    path = directory / name
    path.write_text(text)
    return path


def told(spec: SeedSpec, *keys: str) -> dict[str, object]:
    found = json.loads(seed.contents(spec, "web", keys)["meta-data"])
    assert isinstance(found, dict)
    return found


def test_the_disk_has_the_files_by_their_names_and_the_label() -> None:
    files = {"user-data": b"#cloud-config\n", "meta-data": b"", "vendor-data": b"x" * 5000}
    iso = pycdlib.PyCdlib()
    iso.open_fp(io.BytesIO(seed.disk(files)))
    assert iso.pvd.volume_identifier.rstrip() == b"CIDATA"
    for name, data in files.items():
        for kind in ("rr_path", "joliet_path"):
            out = io.BytesIO()
            iso.get_file_from_iso_fp(out, **{kind: f"/{name}"})
            assert out.getvalue() == data


def test_keys_and_names_are_meta_data(tmp_path: Path) -> None:
    keys = file(tmp_path, f"# mine\n{KEY}\n\nno-pty {KEY}2\n")
    spec = SeedSpec(ssh_keys=(keys,), hostname="other")
    found = told(spec, "ssh-ed25519 AAAA own")
    assert found["public-keys"] == [KEY, f"no-pty {KEY}2", "ssh-ed25519 AAAA own"]
    assert found["local-hostname"] == "other"
    assert told(SeedSpec())["local-hostname"] == "web"


def test_another_seed_is_another_instance(tmp_path: Path) -> None:
    data = file(tmp_path, "#!/bin/sh\ntrue\n")
    specs = [SeedSpec(), SeedSpec(hostname="a"), SeedSpec(user_data=data)]
    found = [told(spec)["instance-id"] for spec in specs]
    assert len(set(found)) == len(specs)
    assert found == [told(spec)["instance-id"] for spec in specs]


def test_meta_data_of_one_s_own_is_handed_on(tmp_path: Path) -> None:
    path = file(tmp_path, "instance-id: mine\n")
    assert seed.contents(SeedSpec(meta_data=path), "web")["meta-data"] == b"instance-id: mine\n"
    with pytest.raises(InvalidInput, match="give these or that"):
        seed.contents(SeedSpec(meta_data=path, hostname="a"), "web")


@pytest.mark.parametrize("text", ["packages: [nginx]\n", "# a note\n#cloud-config\n"])
def test_user_data_that_cloud_init_would_pass_over(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput, match="first line"):
        seed.contents(SeedSpec(user_data=file(tmp_path, text)), "web")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "is a private key"),
        ("", "no public keys"),
        (f"{KEY}\nsomething else\n", "no public keys"),
    ],
)
def test_what_is_no_public_key(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        seed.contents(SeedSpec(ssh_keys=(file(tmp_path, text),)), "web")


@pytest.mark.parametrize("name", ["a.b", "-a", "a b", "a\nb", "ä"])
def test_what_is_no_host_name(name: str) -> None:
    with pytest.raises(InvalidInput, match="no host name"):
        seed.contents(SeedSpec(hostname=name), "web")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    for spec in (
        SeedSpec(user_data=missing),
        SeedSpec(network_config=missing),
        SeedSpec(meta_data=tmp_path),
        SeedSpec(ssh_keys=(missing,)),
    ):
        with pytest.raises(InvalidInput, match="cannot open"):
            seed.contents(spec, "web")
