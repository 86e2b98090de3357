"""Ctrl-C and SIGTERM: at once, between two items where something is held, and never swallowed."""

import os
import random
import re
import signal
import subprocess
import sys

import pytest

from tests.support import interrupted
from tests.support.places import ROOT

SENTENCE = "stopped by {}; what was finished is kept; next: the same command again\n"


BEGIN = "from faceparse_jax.runtime import interrupts\ninterrupts.install()\n"


def ended(script: str, *numbers: int, begin: str = BEGIN) -> tuple[int, str, str]:
    """Status, output and errors of a script that got signals, each after a line that it printed."""
    script = begin + script
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},  # without what makes Python write each word at once
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    printed = ""
    for number in numbers:
        printed += process.stdout.readline()
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return process.returncode, printed + out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_where_nothing_is_held_a_command_ends_at_once_and_what_it_printed_is_there(number):
    script = "import os, time\nprint('two', end='')\nos.write(1, b'one\\n')\ntime.sleep(60)"
    status, out, err = ended(script, number)
    assert (status, out, err) == (128 + number, "one\ntwo", SENTENCE.format(number.name))


@pytest.mark.parametrize(
    "script",
    [
        # Python drops what is raised in these two.
        "import gc\ngc.callbacks.append(lambda *_: (print('in', flush=True), time.sleep(60)))\n"
        "gc.collect()",
        "class A:\n    def __del__(self):\n        print('in', flush=True)\n"
        "        time.sleep(60)\nA()",
        # A call that looks at no signal until it returns, as a compilation does.
        "import hashlib\nprint('in', flush=True)\nhashlib.pbkdf2_hmac('md5', b'', b'', 2**31 - 1)",
        # Threads that Python would wait for, and a pipe that nobody reads.
        "import threading\nthreading.Thread(target=time.sleep, args=(60,)).start()\n"
        "print('in', flush=True)\ntime.sleep(60)",
        "from concurrent.futures import ThreadPoolExecutor as Pool\n"
        "with Pool() as pool:\n    pool.submit(time.sleep, 60)\n    print('in', flush=True)",
    ],
)
def test_a_signal_is_not_lost_and_is_not_waited_for(script):
    status, out, err = ended("import time\n" + script, signal.SIGINT)
    assert (status, out, err) == (130, "in\n", SENTENCE.format("SIGINT"))


def test_output_that_nobody_reads_does_not_keep_a_command():
    script = "import os, sys, time\nprint('in', file=sys.stderr, flush=True)\nprint('x' * 10**6)\n"
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + script],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr.readline() == b"in\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert process.stderr.read().decode() == SENTENCE.format("SIGINT")
    process.stdout.close()
    process.stderr.close()


_LOOP = """
import time
def main():
    for n in interrupts.stoppable(range(3)):
        try:
            print("begun", n, flush=True)
            until = time.monotonic() + {seconds}
            while time.monotonic() < until and not interrupts.came():
                time.sleep(0.01)
            {then}
            print("written", n, flush=True)
        except Exception:
            print("taken for a failure")
interrupts.run(main)
"""


def test_what_is_held_is_finished_first():
    status, out, err = ended(_LOOP.format(seconds=60, then=""), signal.SIGINT)
    assert (status, out) == (130, "begun 0\nwritten 0\n")
    assert err == SENTENCE.format("SIGINT")


def test_a_closed_terminal_stops_a_command_and_may_tell_of_it_twice():
    then = "print('going on', flush=True); time.sleep(0.5)"
    script = _LOOP.format(seconds=60, then=then)
    status, out, err = ended(script, signal.SIGHUP, signal.SIGHUP)
    assert (status, out) == (129, "begun 0\ngoing on\nwritten 0\n")
    assert err == SENTENCE.format("SIGHUP")


def test_a_command_begun_by_nohup_outlives_its_terminal():
    begin = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + BEGIN
    script = "import os\nos.kill(os.getpid(), signal.SIGHUP)\nprint('done')"
    assert ended(script, begin=begin) == (0, "done\n", "")


def test_a_second_signal_ends_at_once_what_is_held():
    script = _LOOP.format(seconds=60, then="print('going on', flush=True); time.sleep(60)")
    status, out, err = ended(script, signal.SIGINT, signal.SIGTERM)
    assert (status, out) == (143, "begun 0\ngoing on\n")
    assert err == SENTENCE.format("SIGTERM")


def test_a_signal_in_the_last_item_is_told_at_the_end():
    script = """
def main():
    with interrupts.held():
        with interrupts.held():
            print("in", flush=True)
            while not interrupts.came():
                pass
        print("out of the inner", flush=True)
    print("never")
interrupts.run(main)
"""
    status, out, err = ended(script, signal.SIGINT)
    assert (status, out, err) == (130, "in\nout of the inner\n", SENTENCE.format("SIGINT"))


def test_without_a_signal_a_command_has_its_own_status():
    assert ended("interrupts.run(lambda: 3)") == (3, "", "")
    assert ended("interrupts.run(lambda: print(list(interrupts.stoppable('ab'))))") == (
        0, "['a', 'b']\n", "",
    )  # fmt: skip


def test_the_script_catches_signals_too():
    script = (
        "import time, faceparse_jax.main as m\n"
        "m.main = lambda: (print('in', flush=True), time.sleep(60))\nm.command()"
    )
    assert ended(script, signal.SIGINT, begin="") == (130, "in\n", SENTENCE.format("SIGINT"))


def test_who_imports_the_package_keeps_his_own_handlers(tmp_path):
    """Also a program of somebody else that Python runs by its module's name."""
    (tmp_path / "theirs.py").write_text(
        "import signal\nbefore = [signal.getsignal(n) for n in (2, 15)]\n"
        "import faceparse_jax, tfds_builders, faceparse_jax.main\n"
        "assert [signal.getsignal(n) for n in (2, 15)] == before\n"
    )
    code = f"import sys; sys.path += [{str(ROOT)!r}]; import runpy; runpy.run_module('theirs')"
    for words in (["-c", code], ["-m", "theirs"]):
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def tries(tmp_path_factory):
    base = tmp_path_factory.mktemp("tries")
    return base, {command.name: command for command in interrupted.light(base)}


@pytest.mark.parametrize("name", ["build faces", "check", "compare", "config", "labels"])
def test_a_command_that_is_stopped_at_a_random_moment_keeps_its_promise(tries, name):
    base, commands = tries
    whole = interrupted.undisturbed(commands[name], base / "whole")
    moment = random.Random(name).uniform(0, whole.seconds)
    while not (tried := interrupted.attempt(commands[name], whole, base / "try", moment)):
        moment /= 2  # it had ended before
    stopped, faults = tried
    assert not faults, f"after {moment} s: {stopped}"


def test_broken_promises_are_noticed(tmp_path):
    whole = interrupted.Ended(0, 1.0, "a note\n", {"a.png": "1", "b.png": "2"})
    sentence = SENTENCE.format("SIGINT")

    def faults(status=130, stderr=sentence, **files):
        files = {name.replace("_", "."): digest for name, digest in files.items()}
        stopped = interrupted.Ended(status, 1.0, stderr, files)
        return interrupted.faults_of_stop(stopped, whole, tmp_path)

    bars = "train:  0%|  | 0/9 [00:01<?, ? images/s]\rtrain: 50%|# | 4/9 [00:01<00:01, 4 images/s]"
    assert faults(stderr=f"a note\n{bars}\n{sentence}", a_png="1") == []
    assert faults(status=-2) == ["status -2"]
    assert faults(stderr="") == ["0 sentences"]
    assert faults(stderr=2 * sentence) == ["2 sentences"]
    ignored = "Exception ignored in: <function _xla_gc_callback>"
    assert faults(stderr=f"{ignored}\n{sentence}") == [f"on standard error: {ignored}"]
    assert faults(a_png="3") == ["other bytes: a.png"]
    (tmp_path / "a.png.partial").touch()
    assert faults() == ["half written: a.png.partial"]
    again = interrupted.Ended(1, 1.0, "", {"a.png": "1"})
    told = interrupted.faults_of_end(again, whole)
    assert told == ["again: status 1", "again: other or no file b.png"]


def test_every_command_is_run_by_its_module_with_the_handlers_in_place():
    """A module that ends with sys.exit(main()) would let Stopped through as a traceback."""
    commands = [
        path
        for folder in ("faceparse_jax", "tfds_builders")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"^if __name__ == .__main__.:", path.read_text(), re.MULTILINE)
    ]
    assert len(commands) >= 7
    for path in commands:
        assert path.read_text().endswith("interrupts.run(main)\n"), path
