"""Streams that are closed, full or without a reader: no traceback, and the files are written."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests.support.places import ROOT

BEGIN = "import os, signal, sys, time\nfrom faceparse_jax.runtime import interrupts, progress\n"
INSTALL = "interrupts.install()\n"


def shell(line: str, script: str, tmp_path: pathlib.Path) -> subprocess.CompletedProcess:
    """A line of bash, in which $COMMAND is a script that begins as our commands do."""
    path = tmp_path / "script.py"
    path.write_text(BEGIN + INSTALL + script)
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        cwd=tmp_path,
        # Without what makes Python write each word at once.
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "COMMAND": f"{sys.executable} {path}",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )


WORKS = """
def main():
    for _ in progress.bar(range(3), "some", 3, "things"):
        progress.compiling("it")
        print("a line", file=sys.stderr)
    open("written", "w").write("whole")
interrupts.run(main)
"""


@pytest.mark.parametrize(
    "line", ["$COMMAND 2>&-", "$COMMAND 2>/dev/full", "$COMMAND 2> >(exec true)"]
)
def test_a_command_goes_on_without_standard_error(line, tmp_path):
    script = WORKS if ">(" not in line else "time.sleep(1)\n" + WORKS
    done = shell(line, script, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "written").read_text() == "whole"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_gets_what_is_meant_for_a_closed_stream(closed, tmp_path):
    script = "file = open('written', 'w')\nos.write(1, b'out')\nos.write(2, b'error')\n"
    script += "file.write('whole')\nprint('x')\nprint('y', file=sys.stderr)\n"
    done = shell(f"$COMMAND {closed}", script, tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "written").read_text() == "whole"


def test_a_signal_ends_a_command_whose_output_is_closed(tmp_path):
    script = "os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(30)\n"
    done = shell("$COMMAND >&-", script, tmp_path)
    assert done.returncode == 130
    assert done.stderr.startswith("stopped by SIGINT;")


def test_a_signal_shows_no_traceback_where_the_reader_of_the_output_ended_too(tmp_path):
    script = "print('kept back')\ntime.sleep(1)\nos.kill(os.getpid(), signal.SIGINT)\n"
    done = shell("$COMMAND | true", script + "time.sleep(30)\n", tmp_path)
    assert done.returncode == 130
    assert done.stderr.startswith("stopped by SIGINT;")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("lines", [1, 100_000])
def test_output_whose_reader_has_seen_enough_ends_without_a_word(lines, tmp_path):
    script = f"time.sleep(1)\ninterrupts.run(lambda: print('line\\n' * {lines}))\n"
    done = shell("$COMMAND | true", script, tmp_path)
    assert (done.returncode, done.stderr) == (141, "")


def test_output_on_a_full_disk_is_told_in_a_sentence(tmp_path):
    done = shell("$COMMAND >/dev/full", "interrupts.run(lambda: print('a line'))\n", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard output: found No space left on device, expected")
    assert done.stderr.count("\n") == 1
