"""Another process that works in a folder."""

import contextlib
import pathlib
import subprocess
import sys
from collections.abc import Iterator

from tests.support.places import ROOT

_PROGRAM = """
import pathlib, sys
from faceparse_jax.runtime.lock import locked
with locked(pathlib.Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def process_that_locks(folder: pathlib.Path) -> Iterator[subprocess.Popen]:
    """A process that holds the lock of a folder until it is killed or the context ends."""
    words = [sys.executable, "-c", _PROGRAM, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        yield process
