"""Snapshots that older versions of Innkeeper wrote, and one of this: their guests go on, and check
themselves.
"""

import json
import tarfile
from pathlib import Path

import pytest
from tests.run import kept_guests
from tests.run.house import House, wait
from tests.run.kept_guests import GUESTS, KEPT, PLACE

from innkeeper.services import snapshot_files

ARCHIVES = sorted(KEPT.glob("*.tar.xz"))


def name_of(archive: Path) -> str:
    return archive.name.partition(".")[0]


@pytest.fixture
def box(
    house: House, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> House:
    """With a guest `box` that never ran here, and its snapshot `second`, which was kept."""
    archive: Path = request.param
    guest = GUESTS[archive.name.partition("-")[0]]
    kept_guests.files(guest, tmp_path)
    # Its options name files there.
    monkeypatch.chdir(tmp_path)
    house("create", "--name", "box", *guest.options)
    kept = house.home / "guests/box/snapshots/second"
    kept.mkdir(parents=True)
    with tarfile.open(archive) as members:
        members.extractall(kept, filter="data")
    moved(kept / snapshot_files.MANIFEST, tmp_path)
    return house


def moved(manifest: Path, place: Path) -> None:
    """All that it names is in `place` now."""
    document = json.loads(manifest.read_text().replace(f'"{PLACE}', f'"{place}'))
    document["sum"] = snapshot_files._sum_of(document["snapshot"])
    manifest.write_text(json.dumps(document))


@pytest.mark.parametrize("box", ARCHIVES, ids=name_of, indirect=True)
def test_a_kept_guest_goes_on(box: House) -> None:
    assert box("snapshot", "verify", "box", "second") == "second is what it was\n"
    box("snapshot", "restore", "box", "second")
    assert box.states() == {"box": "running"}
    said = wait(lambda: box("logs", "box"), lambda text: len(text) > 3)
    assert set(said) <= set(".\n"), said[-100:]
    # And it can be kept anew, upon the layers of old.
    box("snapshot", "create", "box", "third")
    box("snapshot", "restore", "box", "third")
    said = wait(lambda: box("logs", "box"), lambda text: len(text) > 3)
    assert set(said) <= set(".\n"), said[-100:]


def test_of_each_guest_one_is_of_this_version() -> None:
    """What is written now can be read later, and whoever changes the format keeps one of before."""
    found: dict[str, set[int]] = {}
    for archive in ARCHIVES:
        with tarfile.open(archive) as members:
            manifest = members.extractfile(snapshot_files.MANIFEST)
            assert manifest is not None
            version = json.load(manifest)["version"]
        found.setdefault(archive.name.partition("-")[0], set()).add(version)
    assert found.keys() == GUESTS.keys()
    assert set().union(*found.values()) == set(snapshot_files._READ)
    assert snapshot_files.VERSION in found["usual"] & found["old"]
