"""Standard output and error of a command, which may be closed, full, or without a reader."""

import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator


class _Lasting(io.FileIO):
    """Drops what cannot be written any more, for the command goes on without a reader of it."""

    def write(self, data) -> int | None:
        try:
            return super().write(data)
        except OSError:  # the pipe's reader or the terminal has gone, or the disk is full
            return len(data)


def install() -> None:
    """Replaces streams that are closed, and standard error by one whose writes never fail."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Else the next file that is opened had this number, and got libraries' messages.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(_Lasting(2, "w", closefd=False)),
        encoding=sys.stderr.encoding if sys.stderr else None,
        errors="backslashreplace",
        line_buffering=True,
    )


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Ends the process in one sentence where standard output does not take what was printed.

    Where its reader has gone, as ``head`` does when it has seen enough, there is no sentence, and
    the status is that of SIGPIPE.
    """
    try:
        yield
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            _lead_nowhere()
            print(
                f"error: standard output: found {error.strerror}, expected room for what is "
                "printed; next: print to another place, files are written",
                file=sys.stderr,
            )
            sys.exit(2)
    except BrokenPipeError:
        _lead_nowhere()
        sys.exit(128 + signal.SIGPIPE)


def _lead_nowhere() -> None:
    """Python writes what is left of standard output once more as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
