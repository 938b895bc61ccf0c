"""Containers' images as guests: a busybox in a layout that is made here."""

from pathlib import Path

import pytest
from tests.boot.homes import furnish
from tests.conftest import Inn
from tests.unit.images.containers.layouts import Entry, Layout, docker_archive, layer

from innkeeper.images import Image
from innkeeper.sdk.guest import Guest

_BUSYBOX = Entry(name="bin/busybox", content=Path("/bin/busybox").read_bytes(), mode=0o755)
_APPLETS = ("sh", "id", "pwd", "cat", "env", "ls", "stat", "sleep", "true")
_SYSTEM = layer(
    _BUSYBOX,
    *(Entry(name=f"bin/{name}", link="busybox", kind=b"2") for name in _APPLETS),
    Entry(name="etc/passwd", content=b"root:x:0:0::/root:/bin/sh\nbob:x:7:8::/srv:/bin/sh\n"),
    Entry(name="etc/group", content=b"root:x:0:\ncrew:x:9:\n"),
    Entry(name="srv/old", content=b"old"),
    Entry(name="opt/gone/file"),
)
_CHANGES = layer(
    Entry(name="srv/.wh.old"),
    Entry(name="opt/.wh..wh..opq"),
    Entry(name="srv/new", content=b"new\n", mode=0o640, uid=7, gid=9),
    Entry(name="srv/same", link="srv/new", kind=b"1"),
    Entry(name="sbin", link="bin", kind=b"2"),
)
_CONFIG = {
    "Entrypoint": ["sh", "-c"],
    "Cmd": ["id -u; id -g; pwd; echo $GREETING; cat new; ls /opt; stat -c %h same; exit 5"],
    "Env": ["GREETING=hello there", "PATH=/sbin"],
    "WorkingDir": "/srv",
    "User": "bob:crew",
    "ExposedPorts": {"80/tcp": {}},
}


@pytest.fixture
def home(tmp_path: Path, debian: Image, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own store, so that what is made here is gone with the test."""
    furnish(tmp_path / "home", debian)
    # What is built goes here, beside a link to where debian is.
    images = tmp_path / "home" / "images"
    images.unlink()
    images.mkdir()
    (images / debian.digest).symlink_to(debian.directory)
    monkeypatch.setenv("INNKEEPER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_guest_runs_what_the_container_would(tmp_path: Path, home: Path) -> None:
    inn = Inn()
    Layout(tmp_path / "box").add([_SYSTEM, _CHANGES], _CONFIG, tag="1")
    first = inn("run", f"oci:{tmp_path}/box:1")
    assert (first.returncode, first.stdout.decode().splitlines()) == (
        5,
        ["7", "9", "/srv", "hello there", "new", "2"],
    )
    assert b"layer 1 of 2" in first.stderr
    # Again, it is in the store; the command is another, and the entrypoint.
    again = inn("run", f"oci:{tmp_path}/box", "--entrypoint", "pwd")
    assert (again.returncode, again.stdout, again.stderr) == (0, b"/srv\n", b"")
    listed = inn("image", "ls").stdout.decode()
    assert "box-1" in listed
    assert "container box-1" in listed
    inspected = inn("image", "inspect", "box-1").stdout.decode()
    assert '"WorkingDir"' not in inspected
    assert '"80/tcp"' in inspected


def test_an_archive_of_docker_with_folders_and_a_guest_that_stays(
    tmp_path: Path, home: Path
) -> None:
    inn = Inn()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "note").write_text("from the host\n")
    docker_archive(tmp_path / "box.tar", [_SYSTEM, _CHANGES], {**_CONFIG, "Cmd": None})
    made = inn("image", "import", f"docker-archive:{tmp_path}/box.tar", "--name", "mine")
    assert (made.returncode, made.stdout[:5]) == (0, b"mine ")
    nothing = inn("run", "mine", "--entrypoint", "")
    assert nothing.returncode == 2
    assert b"names no command" in nothing.stderr
    started = inn(
        "run",
        "-d",
        "--name",
        "box",
        "-P",
        "-v",
        f"{tmp_path}/shared:/mnt",
        "mine",
        "--",
        "cat /mnt/note; sleep 1000",
    )
    assert started.returncode == 0, started.stderr
    try:
        asked = inn("exec", "box", "sh", "-c", "id -u; pwd; echo $GREETING; cat /mnt/note")
        assert (asked.stdout, asked.stderr) == (b"7\n/srv\nhello there\nfrom the host\n", b"")
        assert b'"guest_port": 80' in inn("inspect", "box").stdout
    finally:
        inn("rm", "--force", "box")


def test_a_guest_of_python(tmp_path: Path, home: Path) -> None:
    Layout(tmp_path / "box").add([_SYSTEM, _CHANGES], _CONFIG)
    with Guest(f"oci:{tmp_path}/box") as guest:
        found = guest.run(["sh", "-c", "id -u; pwd; echo $GREETING"])
    assert found.stdout == "0\n/srv\nhello there\n"
