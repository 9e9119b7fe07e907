"""What can go wrong with a guest. Each message names the directory where its console log and transcript are kept."""

from __future__ import annotations

from rigappliance.errors import RigError


class GuestError(RigError):
    """Base of all errors of a guest; exit code 1, as test programs use it."""


class ImageError(GuestError):
    """The guest's image could not be made."""


class EmulatorError(GuestError):
    """QEMU did not start, or refused a command."""


class BootError(GuestError):
    """The guest did not come up in time."""


class GuestGoneError(GuestError):
    """The guest ended or restarted while something was expected of it."""


class GuestHungError(GuestError):
    """The guest's shell no longer answers."""


class AwaitedError(GuestError):
    """What was waited for did not come, or can no longer come."""


class CommandError(GuestError):
    """A command in the guest ended otherwise than it had to.

    ``status`` is its exit status, 124 after a timeout; ``output`` its standard
    output, ``errors`` the end of its standard error.
    """

    def __init__(self, found: str, expected: str, remedy: str, *, status: int, output: str, errors: str) -> None:
        super().__init__(found, expected, remedy)
        self.status = status
        self.output = output
        self.errors = errors
