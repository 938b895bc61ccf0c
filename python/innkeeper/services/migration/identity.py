"""Who this host is to others, and whom it trusts: certificates that nobody signs, exchanged by
hand.

    HOME/hosts/identity.pem    this host's key and certificate, made when it is first asked for
    HOME/hosts/trusted.json    the certificates of others by name, and where they answer

A certificate is trusted or it is not: there is nobody who vouches, and no date that matters. Whom
we trust may start guests here.
"""

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import re
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from innkeeper import stored
from innkeeper.errors import HostFailure, InvalidInput, NotFound
from innkeeper.images.store import home

PORT: Final = 7717
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9.-]{0,62}")
_PEM: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]{1,8192}-----END CERTIFICATE-----"
)
_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """Another host: its certificate as PEM; where it answers, if it does, as HOST:PORT."""

    name: str
    certificate: str
    address: str = ""

    @property
    def fingerprint(self) -> str:
        return fingerprint(ssl.PEM_cert_to_DER_cert(self.certificate))


@dataclass(frozen=True, slots=True)
class _Hosts:
    version: int
    hosts: tuple[Trusted, ...] = ()


def fingerprint(der: bytes) -> str:
    """Of a certificate, as people compare it."""
    return "SHA256:" + hashlib.sha256(der).hexdigest()


def certificate() -> str:
    """This host's, as PEM.

    Raises:
        HostFailure: when it cannot be read, or made.
    """
    found = _PEM.search(identity_file().read_text())
    if found is None:
        raise HostFailure(f"{identity_file()} is damaged")
    return found[0] + "\n"


def identity_file() -> Path:
    """Key and certificate; made when they are not there.

    Raises:
        HostFailure.
    """
    directory = home().absolute() / "hosts"
    path = directory / "identity.pem"
    try:
        if not path.exists():
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _changing(directory):
                if not path.exists():
                    _write(path, _made())
    except OSError as error:
        raise HostFailure(f"cannot make {path}: {error.strerror}") from error
    return path


def trusted() -> tuple[Trusted, ...]:
    """
    Raises:
        HostFailure: when the list is damaged.
    """
    path = home().absolute() / "hosts" / "trusted.json"
    try:
        text = path.read_text()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise HostFailure(f"cannot read {path}: {error.strerror}") from error
    try:
        found = stored.decode(_Hosts, json.loads(text))
    except (stored.Unreadable, ValueError) as error:
        raise HostFailure(f"{path} is damaged: {error}") from error
    return found.hosts


def trust(name: str, pem: str, address: str = "") -> Trusted:
    """Trusts the host whose certificate is in `pem` from now on; under a name that is there
    already, in place of that one.

    Raises:
        InvalidInput: when it is none.
        HostFailure.
    """
    if _NAME.fullmatch(name) is None:
        raise InvalidInput(f"{name!r} is no name for a host: letters, digits, dots and dashes")
    found = _PEM.search(pem)
    if found is None:
        raise InvalidInput("that is no certificate; inn host identity prints one, there")
    try:
        ssl.create_default_context(cadata=found[0])
    except (ssl.SSLError, ValueError) as error:
        raise InvalidInput(f"the certificate of {name} cannot be used: {error}") from error
    if address:
        parse_address(address)
    fresh = Trusted(name=name, certificate=found[0] + "\n", address=address)
    _change(lambda hosts: (*(it for it in hosts if it.name != name), fresh))
    return fresh


def distrust(name: str) -> None:
    """
    Raises:
        NotFound: when there is no such host.
        HostFailure.
    """
    find(name)
    _change(lambda hosts: tuple(it for it in hosts if it.name != name))


def find(name: str) -> Trusted:
    """
    Raises:
        NotFound: when there is no such host.
    """
    for host in trusted():
        if host.name == name:
            return host
    raise NotFound(f"no host is trusted by the name {name!r}; see inn host trust")


def parse_address(text: str) -> tuple[str, int]:
    """HOST, HOST:PORT or [ADDRESS]:PORT.

    Raises:
        InvalidInput.
    """
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.%a-z]+)\]|([^:\[\]/]+))(?::(\d{1,5}))?", text)
    if match is None or int(match[3] or PORT) > 65535:
        raise InvalidInput(f"{text!r} is no address: HOST or HOST:PORT is")
    return match[1] or match[2], int(match[3] or PORT)


def context(*, server: bool) -> ssl.SSLContext:
    """TLS 1.3 with whom we trust, and nobody else.

    Raises:
        HostFailure.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    # Certificates are compared as a whole, whatever names are in them.
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_cert_chain(identity_file())
    for host in trusted():
        made.load_verify_locations(cadata=host.certificate)
    return made


def peer(der: bytes | None) -> Trusted | None:
    """Who shows this certificate."""
    if der is None:
        return None
    for host in trusted():
        if ssl.PEM_cert_to_DER_cert(host.certificate) == der:
            return host
    return None


def _made() -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:60] or "host"
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    # A clock that is wrong is no reason not to move a guest: nobody vouches until some date.
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private + made.public_bytes(serialization.Encoding.PEM)


def _change(change: Callable[[tuple[Trusted, ...]], tuple[Trusted, ...]]) -> None:
    path = home().absolute() / "hosts" / "trusted.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _changing(path.parent):
            hosts = tuple(sorted(change(trusted()), key=lambda host: host.name))
            _write(path, json.dumps(stored.encode(_Hosts(_VERSION, hosts))).encode())
    except OSError as error:
        raise HostFailure(f"cannot write {path}: {error.strerror}") from error


@contextlib.contextmanager
def _changing(directory: Path) -> Iterator[None]:
    lock = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _write(path: Path, data: bytes) -> None:
    """The old or the new, whatever happens."""
    descriptor, fresh = tempfile.mkstemp(dir=path.parent)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(fresh).replace(path)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise
