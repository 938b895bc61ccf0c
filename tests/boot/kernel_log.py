"""What a kernel says of hardware that does not behave."""

import re

# On a host with other work no wait for the PIT is even enough for Linux, which then goes by the PM
# timer; it does so on processors of AMD's, since it believes CPUID's frequency on Intel's alone.
TROUBLE = re.compile(
    rb"unchecked MSR|BUG:|WARNING:|Oops|Call Trace|rcu.* stall|lockup|unstable|APIC error"
    rb"|ACPI Error|ACPI BIOS Error|[Uu]nable to(?! calibrate against PIT)"
    rb"|[Ss]purious|nobody cared|timed out|Hardware Error|Firmware Bug"
)
_OF_THE_KERNEL = re.compile(rb"\[ *\d+\.\d+\] ")


def troubled(console: bytes) -> list[bytes]:
    """The lines of a serial console in which a kernel complains."""
    lines = console.splitlines()
    return [line for line in lines if _OF_THE_KERNEL.search(line) and TROUBLE.search(line)]
