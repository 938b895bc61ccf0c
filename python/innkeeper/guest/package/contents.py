"""What a system needs to have our agent as a service: the program, a unit, a rule that starts it.

The unit is started when the port to the host appears, so that an image with the agent in it runs on
any other hypervisor as it did before.
"""

from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from innkeeper.errors import HostFailure

NAME: Final = "innkeeper-agent"
PROGRAM: Final = f"usr/sbin/{NAME}"
UNIT: Final = f"usr/lib/systemd/system/{NAME}.service"
RULE: Final = f"usr/lib/udev/rules.d/60-{NAME}.rules"

# Its commands go on when it is stopped: one of them may be what replaces it.
_UNIT: Final = r"""[Unit]
Description=Innkeeper agent
BindsTo=dev-virtio\x2dports-innkeeper.agent.device
After=dev-virtio\x2dports-innkeeper.agent.device
IgnoreOnIsolate=true

[Service]
ExecStart=/usr/sbin/innkeeper-agent serve
Restart=always
RestartSec=1
KillMode=process
OOMScoreAdjust=-900

[Install]
WantedBy=dev-virtio\x2dports-innkeeper.agent.device
"""
_RULE: Final = (
    'SUBSYSTEM=="virtio-ports", ATTR{name}=="innkeeper.agent", '
    'TAG+="systemd", ENV{SYSTEMD_WANTS}="innkeeper-agent.service"\n'
)
_COPYRIGHT: Final = """Innkeeper's agent.
License: Apache-2.0, see /usr/share/common-licenses/Apache-2.0.
"""


@dataclass(frozen=True, slots=True)
class File:
    content: bytes
    mode: int = 0o644


def contents() -> dict[str, File]:
    """The files by their paths below the root.

    Raises:
        HostFailure: when this installation has no agent in it.
    """
    return {
        PROGRAM: File(_program(), 0o755),
        UNIT: File(_UNIT.encode()),
        RULE: File(_RULE.encode()),
        f"usr/share/doc/{NAME}/copyright": File(_COPYRIGHT.encode()),
    }


def _program() -> bytes:
    """Out of the initrd that the agent is for our own images."""
    try:
        archive = files("innkeeper.guest").joinpath("agent.cpio").read_bytes()
    except OSError as error:
        raise HostFailure(f"this installation has no agent: {error.strerror}") from error
    # Spec: Linux Documentation/driver-api/early-userspace/buffer-format.rst.
    at = 0
    while archive[at : at + 6] == b"070701":
        size = int(archive[at + 54 : at + 62], 16)
        name_size = int(archive[at + 94 : at + 102], 16)
        name = archive[at + 110 : at + 110 + name_size - 1]
        begin = at + -(-(110 + name_size) // 4) * 4
        if name == b"init":
            return archive[begin : begin + size]
        at = begin + -(-size // 4) * 4
    raise HostFailure("this installation has no agent: agent.cpio is damaged")
