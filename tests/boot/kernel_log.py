"""What a kernel says of hardware that does not behave."""

import re

TROUBLE = re.compile(
    rb"unchecked MSR|BUG:|WARNING:|Oops|Call Trace|rcu.* stall|lockup|unstable|APIC error"
    rb"|ACPI Error|ACPI BIOS Error|[Uu]nable to"
    rb"|[Ss]purious|nobody cared|timed out|Hardware Error|Firmware Bug"
)
_OF_THE_KERNEL = re.compile(rb"\[ *\d+\.\d+\] ")


def troubled(console: bytes) -> list[bytes]:
    """The lines of a serial console in which a kernel complains."""
    lines = console.splitlines()
    return [line for line in lines if _OF_THE_KERNEL.search(line) and TROUBLE.search(line)]
