"""What of a guest is on the terminal that `inn` was started from."""

from enum import StrEnum


class ConsoleMode(StrEnum):
    """What is connected to the terminal: the first serial port, the virtio console, or nothing."""

    SERIAL = "serial"
    VIRTIO = "virtio"
    NONE = "none"
