"""What Linux tests of the processor: its crypto drivers against known answers, its BPF compiler."""

import re
from pathlib import Path

import pytest
from tests.boot import packages
from tests.boot.initrd import LOAD, busybox, modules
from tests.conftest import Inn

from innkeeper.images import kernel

OFF = """
busybox poweroff -f
"""


def run(inn: Inn, package: str, wanted: str, script: str, tmp_path: Path) -> str:
    """What the kernel of `package` and `script` say when the modules that match are loaded.

    Those that they need are looked for in directories of the same name.
    """
    content = modules(package, f"kernel/*{Path(wanted).parent.name}/*", wanted)
    elf = tmp_path / "vmlinux"
    image = packages.file(package, "boot/vmlinuz-*")
    elf.write_bytes(kernel.bootable(image.read_bytes()))
    initrd = busybox(tmp_path / "initrd", LOAD + script + OFF, files=content)
    result = inn(
        "run",
        *("--kernel", elf, "--initrd", initrd, "--engine", "interpreter"),
        *("--cpus", "2", "--append", "console=ttyS0 panic=-1"),
    )
    assert result.returncode == 0
    return result.stdout.decode(errors="replace").replace("\r", "")


def test_crypto_drivers_get_the_known_answers(inn: Inn, tmp_path: Path) -> None:
    said = run(
        inn,
        "linux-image-cloud-amd64",
        "kernel/arch/x86/crypto/*.ko",
        "busybox cat /proc/crypto",
        tmp_path,
    )
    drivers = dict(
        re.findall(r"^driver +: (\S+)\n(?:.+\n)*?selftest +: (\w+)$", said, re.MULTILINE)
    )
    # AES-NI, CLMUL, AVX2, the SHA extensions, ADX with MULX, CRC32 of SSE4.2.
    assert drivers.keys() >= {
        *("xts-aes-aesni", "generic-gcm-aesni", "sha512-avx2", "sha256-ni", "curve25519-x86"),
        *("cbc-camellia-aesni-avx2", "nhpoly1305-avx2", "crc32c-intel", "crct10dif-pclmul"),
    }
    assert set(drivers.values()) == {"passed"}
    assert "failed" not in "\n".join(line for line in said.splitlines() if "alg:" in line)


@pytest.mark.long_guest(reason="two of the programs count to thousands of millions")
def test_bpf_programs_get_their_results(inn: Inn, tmp_path: Path) -> None:
    said = run(inn, "linux-image-amd64", "kernel/lib/test_bpf.ko", "", tmp_path)
    results = re.findall(r"test_bpf: .*Summary: (\d+) PASSED, (\d+) FAILED", said)
    assert len(results) == 3
    assert sum(int(passed) for passed, _ in results) > 1000
    assert all(failed == "0" for _, failed in results)
