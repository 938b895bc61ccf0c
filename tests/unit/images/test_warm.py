import fcntl
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from tests.unit.images.publishing import publish

from innkeeper.images import warm
from innkeeper.images.store import Image, Store
from innkeeper.images.warm import KeptStart, WarmStarts, wanted
from innkeeper.machine import DiskFormat, DiskSpec, FolderSpec, Limits, MachineSpec, Overlay
from innkeeper.machine.network import NetworkKind, NetworkSpec, PortSpec
from innkeeper.vm.detached import savings

MAC = "02:00:00:00:00:01"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture
def image(store: Store) -> Image:
    return publish(store, "debian", b"one")


def spec_of(image: Image, name: str = "debian") -> MachineSpec:
    root = DiskSpec(path=image.root, format=DiskFormat.RAW, overlay=Overlay.TEMPORARY)
    words = f"console=ttyS0 innkeeper.hostname={name} quiet"
    network = NetworkSpec(mac=MAC)
    return MachineSpec(kernel=image.kernel, disks=(root,), command_line=words, network=network)


def like(image: Image) -> KeptStart:
    found = wanted(image, spec_of(image), "debian")
    assert found is not None
    return found


def keep(store: Store, start: KeptStart, console: str = "booted") -> None:
    making = WarmStarts(store).making(start)
    assert making is not None
    told, theirs = os.pipe()
    files = making.create(theirs)
    for fd in (files.state, files.pages, files.index, files.disk):
        os.write(fd, b"content")
    for fd in (told, *files.all()):
        os.close(fd)
    making.keep({"version": 1}, console)
    making.close()


def test_a_start_is_kept_and_found(store: Store, image: Image) -> None:
    starts = WarmStarts(store)
    with starts.found(like(image)) as found:
        assert found is None
    keep(store, like(image))
    with starts.found(like(image)) as found:
        assert found is not None
        assert (found.start.beginning.state, found.console) == (b"content", "booted")
        (layer,) = found.start.beginning.layers
        assert os.pread(layer.pages, 100, 0) == b"content"
        assert [path.read_bytes() for path in found.start.layers] == [b"content"]
    assert [start.key for start in starts.all()] == [like(image).key]
    assert list((store.directory / "warm").glob("innkeeper-scratch-*")) == []


OTHERS: dict[str, Callable[[MachineSpec], MachineSpec]] = {
    "memory": lambda spec: replace(spec, memory=256 << 20),
    "processors": lambda spec: replace(spec, vcpus=2),
    "model": lambda spec: replace(spec, cpu_model="innkeeper-v1,-avx2"),
    "kernel's words": lambda spec: replace(spec, command_line=spec.command_line + " debug"),
    "no network": lambda spec: replace(spec, network=None),
    "a folder": lambda spec: replace(
        spec, folders=(FolderSpec(path=Path("/x"), target=PurePosixPath("/src"), tag="inn0"),)
    ),
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS.keys())
def test_another_machine_has_another(
    image: Image, change: Callable[[MachineSpec], MachineSpec]
) -> None:
    other = wanted(image, change(spec_of(image)), "debian")
    assert other is not None
    assert other.key != like(image).key


def test_what_the_host_sees_to_makes_no_difference(image: Image) -> None:
    ports = (PortSpec(host_port=8080, guest_port=80),)
    other = replace(
        spec_of(image, "web"),
        network=NetworkSpec(mac="02:00:00:00:00:02", ports=ports),
        limits=Limits(cpu=0.5),
    )
    found = wanted(image, other, "web")
    assert found is not None
    assert found.key == like(image).key
    assert (found.hostname, found.mac) == ("web", "02:00:00:00:00:02")


BOOTING: dict[str, Callable[[MachineSpec], MachineSpec]] = {
    "a disk of one's own": lambda spec: replace(spec, disks=spec.disks * 2),
    "devices of one's own": lambda spec: replace(spec, devices=("pvpanic", "mine:create")),
    "statistics": lambda spec: replace(spec, times=True),
    "a network of others": lambda spec: replace(
        spec, network=NetworkSpec(kind=NetworkKind.SHARED, shared="lab")
    ),
}


@pytest.mark.parametrize("change", BOOTING.values(), ids=BOOTING.keys())
def test_what_is_nobody_elses_boots(
    image: Image, change: Callable[[MachineSpec], MachineSpec]
) -> None:
    assert wanted(image, change(spec_of(image)), "debian") is None


@pytest.mark.parametrize("file", ["state", "pages.0", "index.0", "disk0.0.qcow2", "warm.json"])
@pytest.mark.parametrize("how", ["gone", "truncated", "altered"])
def test_one_that_is_damaged_is_dropped(store: Store, image: Image, file: str, how: str) -> None:
    keep(store, like(image))
    path = store.directory / "warm" / like(image).key / file
    if how == "gone":
        path.unlink()
    elif how == "truncated":
        os.truncate(path, 3)
    else:
        path.write_bytes(b"tnetnoc" if file != "warm.json" else b"[" * 5000)
    with WarmStarts(store).found(like(image)) as found:
        assert found is None
    assert not path.parent.exists()
    keep(store, like(image))
    with WarmStarts(store).found(like(image)) as found:
        assert found is not None


def test_a_state_that_was_altered_behind_its_time_is_dropped(store: Store, image: Image) -> None:
    keep(store, like(image))
    path = store.directory / "warm" / like(image).key / savings.STATE
    before = path.stat()
    path.write_bytes(b"c0ntent")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with WarmStarts(store).found(like(image)) as found:
        assert found is None


def test_who_begins_so_is_not_disturbed(store: Store, image: Image) -> None:
    keep(store, like(image))
    starts = WarmStarts(store)
    with starts.found(like(image)) as found:
        assert found is not None
        assert not starts.remove(like(image).key)
        assert (store.directory / "warm" / like(image).key).exists()
    assert starts.remove(like(image).key)
    assert starts.all() == []


def test_one_is_made_at_a_time_and_the_first_stays(store: Store, image: Image) -> None:
    first = WarmStarts(store).making(like(image))
    assert first is not None
    assert WarmStarts(store).making(like(image)) is None
    first.close()
    keep(store, like(image), "first")
    keep(store, like(image), "second")
    with WarmStarts(store).found(like(image)) as found:
        assert found is not None
        assert found.console == "first"


def test_those_not_used_for_longest_go(
    store: Store, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "MOST", 2)
    keys = [f"{number:032x}" for number in range(3)]
    for number, key in enumerate(keys):
        keep(store, replace(like(image), key=key))
        os.utime(store.directory / "warm" / key, (number + 10**9, number + 10**9))
        if number == 1:
            # The first is used once more.
            os.utime(store.directory / "warm" / keys[0], (10**9 + 9, 10**9 + 9))
    assert {start.key for start in WarmStarts(store).all()} == {keys[0], keys[2]}


def test_those_of_an_image_go_with_it(store: Store, image: Image) -> None:
    keep(store, like(image))
    store.remove("debian")
    WarmStarts(store).sweep()
    assert WarmStarts(store).all() == []


def test_what_a_killed_maker_left_is_swept(store: Store, image: Image) -> None:
    place = store.directory / "warm"
    (place / ("0" * 32)).mkdir(parents=True)
    (place / "innkeeper-scratch-left" / "new").mkdir(parents=True)
    keep(store, like(image))
    assert [entry.name for entry in place.iterdir() if entry.is_dir()] == [like(image).key]


def test_without_room_none_is_made(
    store: Store, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "_SPARE", 1 << 62)
    assert WarmStarts(store).making(like(image)) is None
    lock = os.open(store.directory / "warm" / "lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(lock)
