"""What SIGINT (Ctrl-C), SIGTERM and SIGHUP (the terminal was closed) do in every command: one
sentence, and a status of 128 + N.

A command ends at once, wherever it is, but for what `held` encloses: what must not be cut in the
middle. There the signal waits for the next `check`, and a second one ends the command at once.
`stoppable` does both for a loop.

Python alone would raise KeyboardInterrupt wherever the main thread happens to be, also in callbacks
of JAX, which drop it, and only when a call such as a compilation has returned. So the handlers do
nothing here, and a thread of its own reads the numbers of the signals.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn, TypeVar

from faceparse_jax.errors import Stopped
from faceparse_jax.runtime import streams

Item = TypeVar("Item")

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FLUSH_SECONDS = 1.0

_lock = threading.Lock()
_holds = 0
_came = 0


def install() -> None:
    """Catches the signals from here on, in the main thread of a process that is a command."""
    streams.install()
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    threading.Thread(target=_wait, args=(read_end,), name="signals", daemon=True).start()
    for number in _SIGNALS:
        if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
            continue  # begun by nohup
        signal.signal(number, lambda *_: None)
        signal.siginterrupt(number, False)
    # Registered first, it is called last: no thread runs any more that could tell of a signal.
    atexit.register(_ignore)


def install_in(package: str) -> None:
    """As `install`, where Python begins ``python -m package.module``; for the package's first line.

    The module's own first line would be later, by the imports of the packages around it.
    """
    # While the module is looked for, this is the first word, as Python's manual says.
    if sys.argv[:1] == ["-m"] and any(f"{package}." in word for word in sys.orig_argv):
        install()


def run(main: Callable[[], int | None]) -> NoReturn:
    """Runs a command, and ends the process with the status that it returns."""
    try:
        with streams.told():
            status = main()
    except Stopped as stopped:
        jax = sys.modules.get("jax")
        if jax and jax.distributed.is_initialized():
            jax.distributed.shutdown()  # the others would take this process for lost
        with _lock:
            _end(stopped)
    sys.exit(status)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Encloses what a signal must not cut; blocks may lie in each other.

    Raises:
        Stopped: a signal came and no block is left that holds it.
    """
    global _holds
    with _lock:
        _holds += 1
    try:
        yield
    finally:
        with _lock:
            _holds -= 1
    if not _holds:
        check()


def check() -> None:
    """Lets a signal stop a block of `held`; call it where nothing is half done, between two items.

    Raises:
        Stopped: a signal came.
    """
    if _came:
        raise Stopped(_came)


def stoppable(items: Iterable[Item]) -> Iterator[Item]:
    """Passes on items; a signal stops between two of them, and never within the caller's loop.

    Raises:
        Stopped: a signal came.
    """
    with held():
        for item in items:
            check()
            yield item


def came() -> int:
    """The signal that waits for the next `check`; 0 for none."""
    return _came


def _wait(read_end: int) -> None:
    global _came
    while True:
        numbers = [number for number in os.read(read_end, 64) if number in _SIGNALS]
        if numbers:
            with _lock:
                # A shell and the system both tell of a closed terminal: nobody is impatient.
                if _holds and (not _came or numbers[-1] == signal.SIGHUP):
                    _came = _came or numbers[-1]
                else:
                    _end(Stopped(numbers[-1]))


def _end(stopped: Stopped) -> NoReturn:
    """Ends the process; threads and whatever they wait for are left behind."""
    # What was printed goes out first; not for longer, should the main thread be stuck in a pipe.
    with contextlib.suppress(RuntimeError):  # Python ends, and starts no thread any more
        flush = threading.Thread(target=_flush, daemon=True)
        flush.start()
        flush.join(_FLUSH_SECONDS)
    # A terminal has shown ^C there, perhaps behind a line of progress.
    start = "\n" if os.isatty(2) else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{start}{stopped}\n".encode())
    os._exit(stopped.exit_status)


def _flush() -> None:
    with contextlib.suppress(OSError):  # Ctrl-C has ended the reader too, as in `| tee log`
        sys.stdout.flush()


def _ignore() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
