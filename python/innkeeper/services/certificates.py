"""Certificates of guests' screens: made when a guest is first started that shows its screen by TLS,
and kept in its directory, where its process cannot write.

Nobody vouches for them: a viewer's user compares the fingerprint once, or has the certificate.
"""

import datetime
import hashlib
import ipaddress
import re
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from innkeeper.errors import HostFailure
from innkeeper.machine import ScreenSpec
from innkeeper.vm.detached.home import VNC_CERTIFICATE, Home

if TYPE_CHECKING:
    from cryptography.x509 import GeneralName


def ensure(home: Home, screen: ScreenSpec | None) -> None:
    """
    Raises:
        HostFailure: when there is no room for it.
    """
    if screen is None or screen.vnc is None or not screen.vnc.tls:
        return
    try:
        if not (Path(home.path) / VNC_CERTIFICATE).exists():
            home.write_bytes(VNC_CERTIFICATE, _made(home.name, screen.vnc.host), lasting=True)
    except OSError as error:
        raise HostFailure(f"cannot keep the certificate of a screen: {error.strerror}") from error


def fingerprint(home: Home) -> str | None:
    """SHA-256 of the certificate, as viewers show it; None where there is none."""
    try:
        text = (Path(home.path) / VNC_CERTIFICATE).read_text()
        certificate = text[text.index("-----BEGIN CERTIFICATE") :]
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()
    except (OSError, ValueError):
        return None
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2)).upper()


def _made(name: str, host: str) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name[:60])])
    # A clock that is wrong is no reason not to see a guest.
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private + made.public_bytes(serialization.Encoding.PEM)


def _names(host: str) -> "list[GeneralName]":
    """By which a viewer may have come: the host's, this host's, and from the host itself."""
    from cryptography import x509

    names: list[GeneralName] = []
    for each in dict.fromkeys((host, socket.gethostname(), "localhost", "127.0.0.1", "::1")):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(each)))
        except ValueError:
            if re.fullmatch(r"[A-Za-z0-9.-]{1,253}", each):
                names.append(x509.DNSName(each))
    return names
