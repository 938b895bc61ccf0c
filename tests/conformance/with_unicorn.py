"""The interpreter's results beside Unicorn's, which is QEMU's translator: one more opinion.

    python tests/conformance/with_unicorn.py [--count N] [--seed S]

The example `silicon` of engine-soft makes random instructions and records what the interpreter
does with them; Unicorn runs each from the same registers and memory.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from unicorn import UC_ARCH_X86, UC_ERR_INSN_INVALID, UC_HOOK_INTR, UC_MODE_64, Uc, UcError
from unicorn import x86_const as x86

ROOT = Path(__file__).resolve().parents[2]
PAGE = 0x1000
CODE = 0x1000_0000
CODE_PAGES = 2
BREAKPOINT = 3
SHOWN = 2
NAMES = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))
GPR = [getattr(x86, f"UC_X86_REG_{name.upper()}") for name in NAMES]
XMM = [x86.UC_X86_REG_XMM0 + n for n in range(16)]

Case = dict[str, Any]

# What Unicorn's QEMU, 5.0, does not have. Some of it raises no #UD but runs as something else.
MISSING = frozenset({
    "AVX", "AVX2", "AVX_VNNI", "F16C", "FMA", "GFNI", "SHA", "VAES", "VPCLMULQDQ",
})  # fmt: skip


LEGACY = frozenset(bytes.fromhex("26 36 3e 2e 64 65 66 67 f0 f2 f3"))


def prefixes(case: Case) -> bytes:
    """Legacy and REX prefixes, in order."""
    code = bytes.fromhex(case["bytes"])
    return bytes(takewhile(lambda byte: byte in LEGACY or byte & 0xF0 == 0x40, code))


def named(*mnemonics: str) -> Callable[[Case], bool]:
    return lambda case: case["mnemonic"] in mnemonics


def short_branch(case: Case) -> bool:
    branch = case["mnemonic"].startswith(("j", "loop", "call", "ret"))
    return branch and 0x66 in prefixes(case)


def several_rex(case: Case) -> bool:
    """A REX prefix that another prefix follows, and so means nothing."""
    return any(byte & 0xF0 == 0x40 for byte in prefixes(case)[:-1])


def several_mandatory(case: Case) -> bool:
    """More than one of the prefixes that select an SSE instruction."""
    return len({0x66, 0xF2, 0xF3}.intersection(prefixes(case))) > 1


def denormals_are_zero(case: Case) -> bool:
    return bool(case["before"]["mxcsr"] & 0x40)


def differing_lanes(case: Case) -> list[tuple[int, int, int]]:
    """Floats that differ: the interpreter's and Unicorn's without signs, and infinity."""
    width, infinity = {"s": (4, 0x7F80_0000), "d": (8, 0x7FF << 52)}.get(
        case["mnemonic"][-1], (16, 0)
    )
    if case["mnemonic"][-2:] not in ("ss", "sd", "ps", "pd"):
        return []
    sign = 1 << (8 * width - 1)
    lanes = []
    for ours, theirs in zip(case["after"]["xmm"], case["unicorn_xmm"], strict=True):
        for at in range(0, 32, 2 * width):
            pair = (ours[at : at + 2 * width], theirs[at : at + 2 * width])
            if pair[0] != pair[1]:
                a, b = (int.from_bytes(bytes.fromhex(lane), "little") & ~sign for lane in pair)
                lanes.append((a, b, infinity))
    return lanes


def two_nans(case: Case) -> bool:
    """Nothing but the choice among NaNs differs."""
    lanes = differing_lanes(case)
    return bool(lanes) and all(min(a, b) > infinity for a, b, infinity in lanes)


def flushed(case: Case) -> bool:
    """With FZ nothing differs but denormals that the interpreter makes zero."""
    lanes = differing_lanes(case)
    tiny = all(a == 0 and b < infinity & -infinity for a, b, infinity in lanes)
    return bool(lanes and case["before"]["mxcsr"] & 0x8000) and tiny


@dataclass(frozen=True)
class Known:
    """Where Unicorn is known to be wrong, or free to differ."""

    reason: str
    applies: Callable[[Case], bool]


# The interpreter's side of each is what the silicon does: the example compares the two directly.
KNOWN = (
    Known(
        "approximations may have any error below 1.5 * 2^-12, and Unicorn's have none",
        named("rcpps", "rcpss", "rsqrtps", "rsqrtss"),
    ),
    Known("a branch with 66 is cut to 16 bits, as on AMD; Intel ignores it", short_branch),
    Known("a REX prefix counts although another prefix follows it", several_rex),
    Known("66 beside F2 or F3 selects another instruction", several_mandatory),
    Known("BLSI clears CF", named("blsi")),
    Known("BZHI of 32 bits works on 64 or takes a wrong bound", named("bzhi")),
    Known("PDEP of 32 bits deposits into the upper half", named("pdep")),
    Known(
        "CMPXCHG of 32 bits clears the upper half of a register it does not write",
        lambda case: case["mnemonic"] == "cmpxchg" and not case["memory"],
    ),
    Known(
        "conversions and ROUNDSS read 16 bytes of memory, not 8 or 4",
        named("cvtdq2pd", "cvtps2pd", "roundss"),
    ),
    Known(
        "BSF and BSR of 32 bits from zero clear the upper half; Intel leaves all 64 bits",
        named("bsf", "bsr"),
    ),
    Known("BEXTR of 32 bits looks beyond the operand or cuts one bit too many", named("bextr")),
    Known("of two NaNs the one with the larger significand is taken, as on the x87", two_nans),
    Known(
        "a horizontal operation reads its source after writing it",
        lambda case: case["mnemonic"].startswith(("phsub", "phadd", "hsub", "hadd")),
    ),
    Known("FZ reaches the x87 and not SSE, so denormal results stay", flushed),
    Known(
        "MIN and MAX answer a denormal as it is where DAZ makes it zero",
        lambda case: case["mnemonic"].startswith(("min", "max")) and denormals_are_zero(case),
    ),
    Known("the lengths of 64-bit PCMPESTR are cut", named("pcmpestri64", "pcmpestrm64")),
    Known("RORX does not reduce its count", named("rorx")),
    Known(
        "SHLD and SHRD relative to RIP forget the byte of their count",
        lambda case: case["mnemonic"] in ("shld", "shrd") and "[rel " in case["text"],
    ),
    Known(
        "ENTER with 66 writes more of RBP than 16 bits",
        lambda case: case["mnemonic"] == "enter" and 0x66 in prefixes(case),
    ),
    Known(
        "LOCK NEG computes flags from a value that is not cut to its width",
        lambda case: case["mnemonic"] == "neg" and 0xF0 in prefixes(case),
    ),
)


@dataclass
class Report:
    """What came of all cases."""

    equal: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    differing: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def differences(self) -> int:
        return sum(map(len, self.differing.values()))

    def __str__(self) -> str:
        lines = []
        for name, cases in sorted(self.differing.items()):
            lines += [f"{len(cases):6} {name}", *cases[:SHOWN]]
        lines += [f"{count:6} skipped: {why}" for why, count in self.skipped.most_common()]
        lines += [f"{count:6} differ as known: {why}" for why, count in self.known.most_common()]
        lines.append(f"{self.equal} cases equal, {self.differences} differ")
        return "\n".join(lines)


def record(count: int, seed: int, path: Path) -> None:
    """Has the example write its cases; chance leaves somewhat fewer than `count`."""
    # In the profile of the tests in Rust, which have built most of it.
    cargo = ["cargo", "run", "--quiet", "--locked", "--profile", "guest"]
    example = [*cargo, "-p", "engine-soft", "--example", "silicon", "--"]
    options = ["--count", str(count), "--seed", str(seed), "--record", str(path)]
    subprocess.run([*example, *options], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def prepare(case: Case) -> Uc:
    """A fresh Unicorn for every case: nothing translated or left over from another."""
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    before = case["before"]
    uc.mem_map(CODE, CODE_PAGES * PAGE)
    uc.mem_write(CODE, b"\xcc" * (CODE_PAGES * PAGE))
    uc.mem_write(before["rip"], bytes.fromhex(case["bytes"]))
    for address, data in case["memory"]:
        uc.mem_map(address, PAGE)
        uc.mem_write(address, bytes.fromhex(data))
    for register, value in zip(GPR, before["gpr"], strict=True):
        uc.reg_write(register, value)
    for register, data in zip(XMM, before["xmm"], strict=True):
        uc.reg_write(register, int.from_bytes(bytes.fromhex(data), "little"))
    uc.reg_write(x86.UC_X86_REG_MXCSR, before["mxcsr"])
    uc.reg_write(x86.UC_X86_REG_EFLAGS, before["rflags"])
    return uc


def execute(uc: Uc, start: int) -> int | None:
    """Runs up to the first exception, the breakpoint behind the instruction; its vector."""
    vectors: list[int] = []

    def interrupted(uc: Uc, vector: int, _data: object) -> None:
        vectors.append(vector)
        uc.emu_stop()

    uc.hook_add(UC_HOOK_INTR, interrupted)
    uc.emu_start(start, 0)
    return vectors[0] if vectors else None


def differences(case: Case, uc: Uc, vector: int | None) -> Iterator[str]:
    """What is not the same, a line each."""

    def unequal(what: str, ours: int, theirs: int) -> Iterator[str]:
        if ours != theirs:
            yield f"{what}: interpreter {ours:#x}, Unicorn {theirs:#x}"

    if vector != BREAKPOINT:
        yield f"Unicorn ended with exception {vector}"
        return
    after = case["after"]
    # Whether it stands before or behind the breakpoint is Unicorn's choice of the moment.
    rip = uc.reg_read(x86.UC_X86_REG_RIP)
    if rip not in (after["rip"], after["rip"] + 1):
        yield from unequal("rip", after["rip"], rip)
    for name, register, ours in zip(NAMES, GPR, after["gpr"], strict=True):
        yield from unequal(name, ours, uc.reg_read(register))
    flags, defined = uc.reg_read(x86.UC_X86_REG_EFLAGS), case["defined_flags"]
    yield from unequal("flags", after["rflags"] & defined, flags & defined)
    for number, (register, ours) in enumerate(zip(XMM, after["xmm"], strict=True)):
        value = int.from_bytes(bytes.fromhex(ours), "little")
        yield from unequal(f"xmm{number}", value, uc.reg_read(register))
    yield from memory_differences(case, uc)


def memory_differences(case: Case, uc: Uc) -> Iterator[str]:
    expected = {address: bytearray.fromhex(data) for address, data in case["memory"]}
    for address, data in case["changed"]:
        for at, byte in enumerate(bytes.fromhex(data), address):
            page = at & -PAGE
            if page not in expected:
                yield f"byte at {at:#x}: changed by the interpreter in a page of no operand"
                return
            expected[page][at - page] = byte
    for page, ours in expected.items():
        theirs = uc.mem_read(page, PAGE)
        wrong = [n for n in range(PAGE) if ours[n] != theirs[n]]
        for n in wrong[:4]:
            yield f"byte at {page + n:#x}: interpreter {ours[n]:#x}, Unicorn {theirs[n]:#x}"


def crashes(case: Case) -> bool:
    """Substring searches of long strings end the whole process with a segmentation fault."""
    control = int(case["bytes"][-2:], 16)
    return case["mnemonic"].startswith(("pcmpestr", "pcmpistr")) and control & 0xC == 0xC


def compare(case: Case, report: Report) -> None:
    """Runs one case and notes how it went."""
    if missing := MISSING.intersection(case["features"]):
        report.skipped[f"Unicorn has no {min(missing)}"] += 1
        return
    if crashes(case):
        report.skipped["Unicorn may crash in PCMPxSTRx that look for a substring"] += 1
        return
    uc = prepare(case)
    try:
        found = list(differences(case, uc, execute(uc, case["before"]["rip"])))
    except UcError as error:
        if error.errno == UC_ERR_INSN_INVALID:
            report.skipped[f"Unicorn knows no {case['mnemonic']} like this"] += 1
            return
        found = [f"Unicorn gave up: {error}"]
    if not found:
        report.equal += 1
        return
    case["unicorn_xmm"] = [uc.reg_read(register).to_bytes(16, "little").hex() for register in XMM]
    reasons = [known.reason for known in KNOWN if known.applies(case)]
    if reasons:
        report.known[reasons[0]] += 1
        return
    head = f"    case {case['case']}: {case['text']}   {case['bytes']}"
    report.differing[case["mnemonic"]].append("\n      ".join([head, *found]))


def compare_all(count: int, seed: int) -> Report:
    """Records the cases and runs them all."""
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "cases")
        record(count, seed, path)
        with path.open() as lines:
            for line in lines:
                compare(json.loads(line), report)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    report = compare_all(arguments.count, arguments.seed)
    print(report)
    return 1 if report.differences else 0


if __name__ == "__main__":
    sys.exit(main())
