"""What ends a command early: printed as a sentence, never as a traceback."""

import signal
from collections.abc import Sequence


class InputError(Exception):
    """Bad input from the user, told as one sentence.

    Args:
        what: the file, key or value that is at fault.
        found: what is there.
        expected: what should be there.
        next_step: the next command or action that mends it.
    """

    exit_status = 2

    def __init__(self, what: str, found: str, expected: str, next_step: str):
        super().__init__(f"{what}: found {found}, expected {expected}; next: {next_step}")
        self.what = what
        self.found = found
        self.expected = expected
        self.next_step = next_step


def not_installed(what: str, module: str | None, extra: str) -> InputError:
    """What to tell where a module is missing that one of the package's extras brings."""
    return InputError(
        what,
        f"no module {module}",
        f"what the extra {extra!r} of faceparse_jax brings",
        f"pip install 'faceparse_jax[{extra}]', or in a checkout pip install -e '.[{extra}]'",
    )


class NonFiniteError(InputError):
    """A term of the loss was NaN or infinite."""

    exit_status = 3


class Stopped(BaseException):
    """A signal stopped a command; no `Exception`, so that nothing takes it for a failure.

    Args:
        signal_number: the signal; the exit status is 128 more, as shells have it.
        kept: what is kept, and the next command.
    """

    def __init__(
        self,
        signal_number: int,
        kept: str = "what was finished is kept; next: the same command again",
    ):
        super().__init__(f"stopped by {signal.Signals(signal_number).name}; {kept}")
        self.exit_status = 128 + signal_number


def few(names: Sequence[str], most: int = 5) -> str:
    """The first of many names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
