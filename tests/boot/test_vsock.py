"""A real guest's AF_VSOCK and the host's Unix sockets, in a jail and out of it."""

import contextlib
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.boot.homes import furnish
from tests.conftest import PATIENCE, Inn, wait_for

from innkeeper.images import Image

# Sends back what it hears, to as many as come: family 40, port 5000 of any address.
ECHO = r"""
use Socket; $| = 1; system("modprobe vmw_vsock_virtio_transport");
socket(my $listener, 40, SOCK_STREAM, 0) or die "socket $!";
bind($listener, pack("SSLLx4", 40, 0, 5000, 0xffffffff)) or die "bind $!";
listen($listener, 64); print "listens\n";
while (accept(my $caller, $listener)) {
    next if fork;
    while (sysread($caller, my $bytes, 65536)) { print $caller $bytes; $caller->flush; }
    exit;
}
"""
# Calls port 6000 of the host, sends a MiB, says what it hears; and calls 6001, where nobody is.
CALL = r"""
use Socket; system("modprobe vmw_vsock_virtio_transport");
socket(my $host, 40, SOCK_STREAM, 0);
connect($host, pack("SSLLx4", 40, 0, 6000, 2)) or die "connect $!";
print $host "x" x 1048576; $host->flush; shutdown($host, 1); print <$host>;
socket(my $nobody, 40, SOCK_STREAM, 0);
connect($nobody, pack("SSLLx4", 40, 0, 6001, 2)) or print "$!\n";
"""


@pytest.fixture(scope="module")
def inn(tmp_path_factory: pytest.TempPathFactory, debian: Image) -> Iterator[Inn]:
    home = tmp_path_factory.mktemp("house") / "home"
    furnish(home, debian)
    found = Inn({**os.environ, "INNKEEPER_HOME": str(home)})
    yield found
    found("rm", "-f", "box")


@pytest.fixture(scope="module")
def box(inn: Inn) -> Path:
    """The guest's socket; a program of the guest echoes at port 5000."""
    assert inn("run", "--detach", "--name", "box", "--memory", "256M", "debian").returncode == 0
    return Path(inn.environment["INNKEEPER_HOME"]) / "guests/box/run/vsock"


@pytest.fixture(scope="module")
def echo(inn: Inn, box: Path) -> Iterator[Path]:
    process = inn.start("exec", "box", "perl", "-MIO::Handle", "-e", ECHO)
    with process:
        assert process.stdout
        wait_for(process.stdout.fileno(), b"listens")
        yield box
        process.terminate()


def connect(path: Path, port: int) -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    found.settimeout(PATIENCE)
    # Nothing but the name itself is too long for an address.
    fd = os.open(path, os.O_PATH)
    found.connect(f"/proc/self/fd/{fd}")
    os.close(fd)
    found.sendall(b"CONNECT %d\n" % port)
    return found


def everything(of: socket.socket) -> bytes:
    return b"".join(iter(lambda: of.recv(1 << 20), b""))


def test_many_programs_of_the_host_speak_with_one_of_the_guest(echo: Path) -> None:
    callers = [connect(echo, 5000) for _ in range(20)]
    words = [b"%d " % number * 10_000 for number in range(20)]
    for caller, said in zip(callers, words, strict=True):
        caller.sendall(said)
    for caller, said in zip(callers, words, strict=True):
        caller.shutdown(socket.SHUT_WR)
        greeting, _, heard = everything(caller).partition(b"\n")
        assert re.fullmatch(rb"OK \d+", greeting)
        assert heard == said
        caller.close()


def test_megabytes_go_both_ways_at_once(echo: Path) -> None:
    data = os.urandom(8 << 20)
    with connect(echo, 5000) as caller:

        def send() -> None:
            caller.sendall(data)
            caller.shutdown(socket.SHUT_WR)

        threading.Thread(target=send).start()
        _, _, heard = everything(caller).partition(b"\n")
        assert heard == data


def test_a_host_that_reads_nothing_holds_nobody_else_up(echo: Path) -> None:
    with connect(echo, 5000) as stuck, connect(echo, 5000) as other:
        stuck.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            # Until all windows on the way there and back are full.
            while stuck.send(bytes(1 << 16)):
                pass
        other.sendall(b"still here")
        other.shutdown(socket.SHUT_WR)
        assert everything(other).endswith(b"\nstill here")


def test_a_port_that_nobody_has_ends_the_connection(echo: Path) -> None:
    with connect(echo, 5001) as caller:
        assert everything(caller) == b""


def test_a_program_of_the_guest_calls_the_host_out_of_its_jail(inn: Inn, box: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        fd = os.open(box.parent, os.O_PATH)
        listener.bind(f"/proc/self/fd/{fd}/vsock_6000")
        os.close(fd)
        listener.listen()
        process = inn.start("exec", "box", "perl", "-MIO::Handle", "-e", CALL)
        caller, _ = listener.accept()
        with caller, process:
            assert everything(caller) == b"x" * (1 << 20)
            caller.sendall(b"heard\n")
            caller.shutdown(socket.SHUT_WR)
            out, complaints = process.communicate(timeout=PATIENCE)
    assert (out, complaints) == (b"heard\nConnection reset by peer\n", b"")


def test_a_guest_that_is_attended_to_has_a_socket_where_it_is_asked_for(
    inn: Inn, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "socket_6000"))
        listener.listen()
        process = inn.start(
            *("run", "--memory", "256M", "--vsock", f"{path},cid=77", "debian", "--"),
            *("perl", "-MIO::Handle", "-e", CALL),
        )
        with process:
            caller, _ = listener.accept()
            with caller:
                assert len(everything(caller)) == 1 << 20
                assert path.is_socket()
                # It is in use: nobody takes it over.
                taken = inn("run", "--vsock", path, "debian", "--", "true")
                said = b"cannot make the vsock socket"
                assert (taken.returncode, said in taken.stderr) == (1, True)
                caller.sendall(b"heard\n")
            out, _ = process.communicate(timeout=PATIENCE)
    assert out.startswith(b"heard\n")
    assert not path.exists()
    assert process.returncode == 0
