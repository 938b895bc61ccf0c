"""What a mirror of Debian has to be helped with, so that Debian's installer finds all it takes.

Mirrors keep a point release's packages for systems, and often not the installer's own components
(`udeb`), which their index names all the same. What is found out here is served in the place of
the mirror's own files (`mirror_server.py`): an index that has, for what is not there, the version
before, as its file says of itself, or nothing. The installer is the newest whose kernel's modules
are all there. Of a whole mirror nothing is replaced.

Systems are installed from the mirror's own signed lists: only the installer reads `Release`,
everybody else `InRelease`.
"""

import fnmatch
import hashlib
import lzma
import re
import struct
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

Stanza = dict[str, str]

CODENAMES: Final = {"12": "bookworm", "13": "trixie"}
_ASKED_AT_ONCE: Final = 16
_PATIENCE: Final = 60  # seconds
_TRIES: Final = 4
CHUNK: Final = 1 << 20
# Where the header of a kernel says at which offset behind the boot sector its version is.
# Spec: Linux Documentation/arch/x86/boot.rst, kernel_version.
_KERNEL_VERSION: Final = 0x20E
_BOOT_SECTOR: Final = 0x200
# The field that components have which are a kernel's.
_KERNEL: Final = "Kernel-Version"
# Components of these priorities are part of every installation.
_TAKEN: Final = ("standard", "important", "required")
# What the installer verifies lists by, its own and those of the system: a link to Debian's unless
# it is there. The installed system has another.
_KEYRING: Final = "usr/share/keyrings/archive.gpg"
_DEBIANS_KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
# How often a package was built again from the same source, at most.
_BUILDS: Final = 9


class LacksComponents(Exception):
    """No installer can be made whole of what the mirror has; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """The mirror behind. `url` ends before `/dists` and `/pool`."""

    url: str

    def open(self, path: str, method: str = "GET") -> IO[bytes]:
        request = urllib.request.Request(f"{self.url}/{path}", method=method)
        return urllib.request.urlopen(request, timeout=_PATIENCE)  # type: ignore[no-any-return]

    def read(self, path: str) -> bytes:
        with self.open(path) as response:
            return response.read()

    def has(self, path: str) -> bool:
        for _ in range(_TRIES):
            try:
                self.open(path, "HEAD").close()
            except urllib.error.HTTPError:
                return False
            except OSError:
                continue
            return True
        return False


@dataclass(frozen=True, slots=True)
class Completed:
    """`files` are served in the place of the mirror's own, by path below its directory. `installer`
    is a package, and `added` what is in its system besides: a keyring with the key that its lists
    are signed with. `instead` are the components of the version before, `without` those that are
    left out.
    """

    installer: Path
    files: dict[str, bytes]
    added: dict[str, bytes]
    instead: tuple[str, ...]
    without: tuple[str, ...]


def complete(upstream: Upstream, release: str, architecture: str, directory: Path) -> Completed:
    """Finds out what is there. The installer's package goes to `directory`.

    Raises:
        LacksComponents: when no installer's kernel has its modules there.
    """
    codename = CODENAMES[release]
    index = f"main/debian-installer/binary-{architecture}/Packages.xz"
    components = stanzas(upstream.read(f"dists/{codename}/{index}"))
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        there = dict(
            zip(
                [component["Filename"] for component in components],
                pool.map(upstream.has, [component["Filename"] for component in components]),
                strict=True,
            )
        )
    installer, sources = _installer(upstream, (release, architecture), components, there, directory)
    missing = [component for component in components if not there[component["Filename"]]]
    older: dict[str, Stanza | None] = {}
    # What is part of every installation first: where that is not to be had, nothing else matters.
    for taken in (True, False):
        part = [c for c in missing if (c["Priority"] in _TAKEN and _KERNEL not in c) is taken]
        with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
            found = pool.map(lambda c: _older(upstream, c, sources, directory), part)
            older |= zip([component["Filename"] for component in part], found, strict=True)
        lacking = [c["Package"] for c in part if older[c["Filename"]] is None]
        if taken and lacking:
            raise LacksComponents(
                f"of what Debian {release}'s installer always takes, the mirror lacks "
                f"{len(lacking)} components for {architecture}: {', '.join(lacking[:5])}..."
            )
    kept, instead, without = [], [], []
    for component in components:
        before = older.get(component["Filename"])
        if there[component["Filename"]]:
            kept.append(component)
        elif before is not None:
            kept.append(before)
            instead.append(f"{before['Package']} {before['Version']}")
        else:
            without.append(f"{component['Package']} {component['Version']}")
    files, added = {}, {}
    if instead or without:
        packed = lzma.compress(text_of(kept).encode())
        text = upstream.read(f"dists/{codename}/Release").decode()
        release_file = _release(text, index, packed)
        signature, keyring = _signed(release_file)
        files = {
            f"dists/{codename}/{index}": packed,
            f"dists/{codename}/Release": release_file,
            f"dists/{codename}/Release.gpg": signature,
        }
        added[_KEYRING] = keyring
    return Completed(installer, files, added, tuple(instead), tuple(without))


def _installer(
    upstream: Upstream,
    which: tuple[str, str],
    components: list[Stanza],
    there: dict[str, bool],
    directory: Path,
) -> tuple[Path, dict[str, str]]:
    """The newest whose kernel's modules are there, and the versions of what it was made from."""
    release, architecture = which
    package = f"debian-installer-{release}-netboot-{architecture}"
    lists = f"dists/{CODENAMES[release]}/main/binary-{architecture}/Packages.xz"
    newest = next(s for s in stanzas(upstream.read(lists)) if s["Package"] == package)
    complaints = []
    for version in (newest["Version"], *_before(newest["Version"])):
        path = newest["Filename"].replace(newest["Version"], version)
        if not upstream.has(path):
            continue
        deb = directory / path.rpartition("/")[2]
        with upstream.open(path) as source, deb.open("wb") as file:
            while data := source.read(CHUNK):
                file.write(data)
        kernel = _kernel_of(deb)
        modules = [c["Filename"] for c in components if c.get(_KERNEL) == kernel]
        missing = [path for path in modules if not there[path]]
        if modules and not missing:
            made_from = re.findall(r"([\w.+-]+) \(= ([^)]+)\)", field_of(deb, "Built-Using"))
            return deb, dict(made_from)
        complaints.append(
            f"{version} has Linux {kernel}, of whose {len(modules)} components in the index "
            f"{len(missing)} are not there"
        )
        deb.unlink()
    raise LacksComponents(f"the mirror's {package}: {'; '.join(complaints) or 'not there'}")


def _kernel_of(deb: Path) -> str:
    """The release that the kernel in an installer's package says it is."""
    unpacking = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    with (
        subprocess.Popen(unpacking, stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        for member in archive:
            if fnmatch.fnmatch(member.name, "*/text/debian-installer/*/linux"):
                content = archive.extractfile(member)
                assert content is not None
                image = content.read()
                (offset,) = struct.unpack_from("<H", image, _KERNEL_VERSION)
                text = image[offset + _BOOT_SECTOR :].partition(b"\0")[0]
                process.kill()
                return text.decode().split()[0]
    raise AssertionError(f"{deb} has no kernel")


def _older(
    upstream: Upstream, component: Stanza, sources: dict[str, str], directory: Path
) -> Stanza | None:
    """The version that is there of what is not: that which the installer was made from, or one
    before by number.
    """
    if _KERNEL in component:
        return None
    version = component["Version"]
    source = component.get("Source", component["Package"]).split()[0]
    tried = list(_before(version))
    if (built := sources.get(source)) is not None:
        tried = [f"{built}+b{number}" for number in range(_BUILDS, 0, -1)] + [built, *tried]
    bare = _bare(version)
    for before in tried:
        path = component["Filename"].replace(f"_{bare}_", f"_{_bare(before)}_")
        if before != version and upstream.has(path):
            data = upstream.read(path)
            file = directory / path.rpartition("/")[2]
            file.write_bytes(data)
            [control] = stanzas(field_of(file).encode())
            file.unlink()
            return control | facts(data) | {"Filename": path}
    return None


def _before(version: str) -> Iterator[str]:
    """Versions with smaller numbers at the end, and without it: +deb13u3, +deb13u2, ..."""
    while found := re.fullmatch(r"(.+)([+~](?:deb\d+u|b))(\d+)", version):
        stem, mark, number = found.groups()
        yield from (f"{stem}{mark}{lower}" for lower in range(int(number) - 1, 0, -1))
        yield stem
        version = stem


def _bare(version: str) -> str:
    """As files have it in their names: without the epoch."""
    return version.partition(":")[2] or version


def field_of(deb: Path, *names: str) -> str:
    """Fields of a package, all of them without `names`."""
    return subprocess.check_output(["dpkg-deb", "--field", str(deb), *names], text=True)


def stanzas(packed: bytes) -> list[Stanza]:
    """The paragraphs of an index. Spec: Debian Policy, "Syntax of control files"."""
    text = lzma.decompress(packed) if packed.startswith(b"\xfd7zXZ") else packed
    return [
        {
            field[1]: field[2]
            for field in re.finditer(r"^([^\s:]+): ?(.*(?:\n[ \t].*)*)", paragraph, re.MULTILINE)
        }
        for paragraph in text.decode().split("\n\n")
        if paragraph.strip()
    ]


def text_of(stanzas: list[Stanza]) -> str:
    return "\n".join(
        "".join(f"{name}: {value}\n" for name, value in stanza.items()) for stanza in stanzas
    )


def _release(text: str, index: str, packed: bytes) -> bytes:
    """The archive's, of the one index."""
    head = text.partition("\nMD5Sum:")[0].partition("\nSHA256:")[0]
    head = re.sub(r"^Components: .*$", "Components: main", head, flags=re.MULTILINE)
    digest = hashlib.sha256(packed).hexdigest()
    return f"{head}\nSHA256:\n {digest} {len(packed)} {index}\n".encode()


def _signed(text: bytes) -> tuple[bytes, bytes]:
    """The signature by a key that nobody else has, and a keyring of that key and Debian's."""
    with tempfile.TemporaryDirectory(prefix="gpg-") as home:
        gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--passphrase", ""]
        making = ["--quick-generate-key", "mirror@example.org", "ed25519", "sign", "never"]
        subprocess.run([*gpg, *making], check=True, capture_output=True)
        signing = [*gpg, "--armor", "--detach-sign"]
        signature = subprocess.run(signing, input=text, check=True, capture_output=True).stdout
        subprocess.run([*gpg, "--import", _DEBIANS_KEYRING], check=True, capture_output=True)
        key = subprocess.run([*gpg, "--export"], check=True, capture_output=True).stdout
        # Its agent would stay.
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)
    return signature, key


def facts(data: bytes) -> Stanza:
    """What an index says of a file beside what it says of itself."""
    return {"Size": str(len(data)), "SHA256": hashlib.sha256(data).hexdigest()}
