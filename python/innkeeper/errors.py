"""Every error a caller may act on. `code` is stable; the text is for people and is not."""

from typing import ClassVar


class InnkeeperError(Exception):
    """Base of Innkeeper's errors. The text is one sentence."""

    code: ClassVar[str] = "internal"


class InvalidInput(InnkeeperError):
    """What was asked for cannot be: a bad option, kernel, initrd or disk image."""

    code = "invalid_input"


class NotFound(InvalidInput):
    """What was named is not there: an image, a network, a card, a rule."""

    code = "not_found"


class ImageNotFound(NotFound):
    """No image of that name is in the store, and none can be built."""

    code = "image_not_found"


class GuestNotFound(InnkeeperError):
    """No guest has that name."""

    code = "guest_not_found"


class NameInUse(InnkeeperError):
    """Another guest has that name, or another network, or another snapshot of the guest."""

    code = "name_in_use"


class HostFailure(InnkeeperError):
    """The host could not do its part: no memory, no permission, a full disk."""

    code = "host_failure"


class EngineUnavailable(InvalidInput):
    """The engine that was asked for cannot run on this host."""

    code = "engine_unavailable"


class ImageBuildFailed(InnkeeperError):
    """An image could not be built; the text names the step and its last words."""

    code = "image_build_failed"


class DeviceFailed(InnkeeperError):
    """A Python device raised an exception; its traceback is the `__cause__` or in `details`."""

    code = "device_failed"

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class EngineFailed(InnkeeperError):
    """The engine met something it cannot run; the text says what."""

    code = "engine_failed"


class GuestNotRunning(InnkeeperError):
    """The guest has ended, or its agent does not answer."""

    code = "guest_not_running"


class CommandNotStarted(InnkeeperError):
    """A command could not be started inside the guest."""

    code = "command_not_started"

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno


def by_code(code: str) -> type[InnkeeperError]:
    """The class whose `code` this is, for an error that comes from another process."""
    pending: list[type[InnkeeperError]] = [InnkeeperError]
    while pending:
        found = pending.pop()
        if found.code == code:
            return found
        pending += found.__subclasses__()
    return InnkeeperError
