"""What a container's image says of the process that is to run in it.

Spec: OCI Image Format Specification, "Image Configuration".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from innkeeper.errors import InvalidInput

# Far above what anybody has, and below what would not fit into a frame to the agent.
_MOST: Final = 4096
_PORT: Final = re.compile(r"(\d{1,5})(?:/(tcp|udp))?")
_LAST_PORT: Final = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerConfig:
    """`env` has NAME=VALUE, `ports` such as 80/tcp; an empty `user` is root, an empty `cwd` the
    root directory."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    cwd: str = ""
    user: str = ""
    ports: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    def argv(self, command: tuple[str, ...], entrypoint: str | None = None) -> tuple[str, ...]:
        """What runs, where the user said `command`, and what is to stand instead of the entrypoint.

        Raises:
            InvalidInput: when neither the image nor the user names anything.
        """
        if entrypoint is None:
            found = (*self.entrypoint, *(command or self.command))
        else:
            # As Docker has it: the image's command belongs to its own entrypoint.
            found = (*((entrypoint,) if entrypoint else ()), *command)
        if not found:
            raise InvalidInput("the image names no command: say one after --")
        return found

    @property
    def variables(self) -> dict[str, str]:
        return dict(text.split("=", 1) for text in self.env)


def parse(document: object) -> ContainerConfig:
    """The `config` of an image's configuration.

    Raises:
        InvalidInput: when it is none.
    """
    found = document.get("config") if isinstance(document, Mapping) else None
    if found is None:
        return ContainerConfig()
    if not isinstance(found, Mapping):
        raise InvalidInput("the image's configuration is damaged")
    return ContainerConfig(
        entrypoint=_texts(found, "Entrypoint"),
        command=_texts(found, "Cmd"),
        env=tuple(
            each for each in _texts(found, "Env") if not each.startswith("=") and "=" in each
        ),
        cwd=_text(found, "WorkingDir"),
        user=_text(found, "User"),
        ports=_ports(found),
        labels=_labels(found),
    )


def decode(document: Mapping[str, object]) -> ContainerConfig:
    """Of what `dataclasses.asdict` and JSON made of one.

    Raises:
        ValueError, TypeError, KeyError: when it is none.
    """
    values = {
        name: tuple(each) if isinstance(each, list) else each for name, each in document.items()
    }
    return ContainerConfig(**values)  # type: ignore[arg-type]


def _texts(found: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = found.get(name)
    if value is None:
        return ()
    # Docker's first formats had one text in place of a list.
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list) or len(value) > _MOST:
        raise InvalidInput(f"the image's {name} is no list")
    return tuple(_checked(each, name) for each in value)


def _text(found: Mapping[str, object], name: str) -> str:
    return _checked(found.get(name) or "", name)


def _checked(value: object, name: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise InvalidInput(f"the image's {name} is no text")
    return value


def _ports(found: Mapping[str, object]) -> tuple[str, ...]:
    exposed = found.get("ExposedPorts") or {}
    if not isinstance(exposed, Mapping) or len(exposed) > _MOST:
        raise InvalidInput("the image's ExposedPorts are damaged")
    ports = []
    for text in exposed:
        match = _PORT.fullmatch(str(text))
        # Others are of protocols that we do not carry, such as SCTP.
        if match is not None and 0 < int(match[1]) <= _LAST_PORT:
            ports.append(f"{int(match[1])}/{match[2] or 'tcp'}")
    return tuple(sorted(set(ports), key=lambda port: (int(port.split("/")[0]), port)))


def _labels(found: Mapping[str, object]) -> dict[str, str]:
    labels = found.get("Labels") or {}
    if not isinstance(labels, Mapping):
        raise InvalidInput("the image's Labels are damaged")
    return {str(name): str(value) for name, value in labels.items()}
