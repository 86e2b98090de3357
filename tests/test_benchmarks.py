"""The benchmarks beside PyTorch and on a GPU: what they refuse, and what failures leave."""

import argparse
import functools
import json
import os
import subprocess
import sys
import typing
from unittest import mock

import jax
import jax.numpy as jnp
import pytest

from benchmarks import gpu, step
from faceparse_jax.errors import InputError
from faceparse_jax.training import losses
from tests.support.places import ROOT

ANSWERS = {"parameters": 3, "answers": [{"rgb": 2.0}, {"rgb": 1.5}]}


def program(code):
    return step.Program((sys.executable, "-c", code), {"do": "step"})


def test_a_program_answers_line_by_line():
    code = (
        "import sys\n"
        "print('{\"first\": 1}', flush=True)\n"
        "for line in sys.stdin: print(line.strip(), flush=True)"
    )
    with program(code) as started:
        assert started.answer() == {"first": 1}
        assert started.ask(7) == 7
        assert started.ask(8) == 8


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise SystemExit('no card')", "no card"),
        ("raise SystemExit(3)", "ended with status 3"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_program_that_ends_says_why(code, says):
    with program(code) as started:
        for ask in (started.answer, lambda: started.ask(1)):
            with pytest.raises(step.Failed, match=says):
                ask()


def test_a_program_that_takes_too_long_is_ended():
    with program("import time; time.sleep(1000)") as started:
        with pytest.raises(step.Failed, match=r"took longer than 1 s"):
            started.answer(limit=1)
        assert started._process.wait() < 0


def test_a_program_ends_with_a_benchmark_that_is_told_to_end():
    code = (
        "import sys\n"
        "from benchmarks import step\n"
        "step.end_when_told()\n"
        "words = (sys.executable, '-c', 'import time; time.sleep(1000)')\n"
        "with step.Program(words, {}) as started:\n"
        "    print(started._process.pid, flush=True)\n"
        "    started.answer()\n"
    )
    command = [sys.executable, "-c", code]
    benchmark = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    pid = int(benchmark.stdout.readline())
    benchmark.terminate()
    benchmark.communicate()
    assert benchmark.returncode == 143
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("theirs", "says"),
    [
        ({"parameters": 4}, "has 4 parameters, ours 3"),
        ({"answers": [{"rgb": 2.01}, {"rgb": 1.5}]}, "call 1: rgb is 2.01, ours 2"),
        ({"answers": [{"rgb": 2.0}, {"rgb": 1.3}]}, "call 2: rgb is 1.3, ours 1.5"),
        ({"answers": [{"rgb": float("nan")}, {"rgb": 1.5}]}, "call 1: rgb is nan"),
    ],
)
def test_two_sides_that_do_not_compute_the_same_are_told(theirs, says):
    with pytest.raises(step.Failed, match=says):
        step.gap(ANSWERS, ANSWERS | theirs, "float32")


def test_two_sides_that_compute_the_same():
    near = {"answers": [{"rgb": 2.0}, {"rgb": 1.515}]}
    assert step.gap(ANSWERS, ANSWERS | near, "float32") == pytest.approx(0.01)


@pytest.mark.parametrize("word", ["128", "128x1", "100x4", "0x4", "x4", "-32x4"])
def test_a_case_that_cannot_be_measured(word):
    with pytest.raises(argparse.ArgumentTypeError, match="expected SIDExBATCH"):
        step.case(word)


def test_an_interpreter_without_pytorch_is_refused(monkeypatch):
    monkeypatch.setenv("TORCH_PYTHON", "/no/such/python")
    with pytest.raises(InputError, match=r"TORCH_PYTHON=/no/such/python: found no interpreter"):
        step.find_torch()


def test_pytorch_that_cannot_be_installed(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCH_PYTHON", raising=False)
    monkeypatch.setattr(step, "ROOT", tmp_path)
    monkeypatch.setattr(step, "REQUIREMENTS", tmp_path / "absent.txt")
    monkeypatch.setattr(step.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="no PyTorch, expected"):
        step.find_torch(make=False)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(step.sys, "executable", "false")
    with pytest.raises(InputError, match=r"could not be installed.*set TORCH_PYTHON="):
        step.find_torch()


def measure(tmp_path, budget=1000, **parts):
    """The record of a run of these parts, and how many failed."""
    parts = {name: gpu.Part(most, function) for name, (most, function) in parts.items()}
    file = tmp_path / "out" / "gpu.json"
    failed = gpu.measure(gpu.Run(True, tmp_path), parts, budget, file)
    return json.loads(file.read_text())["parts"], failed


def test_a_part_that_fails_leaves_the_others(tmp_path, capsys):
    def broken(run):
        raise step.Failed("no memory\nis left")

    parts = {"one": lambda run: {"rate": 2.5}, "two": broken, "three": lambda run: run.found["one"]}
    found, failed = measure(tmp_path, **{name: (1, part) for name, part in parts.items()})
    assert failed == 1
    assert found["one"]["rate"] == found["three"]["rate"] == 2.5
    assert found["two"]["failed"] == "Failed: no memory is left"
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["one", "two", "three"]
    assert lines[1].endswith("failed Failed: no memory is left")


class FakeProgram:
    """In place of `step.Program`: which of the three it is follows from its task."""

    fails: typing.ClassVar[dict[str, str]] = {}  # the program, and the call that fails

    def __init__(self, words, task):
        torch = {"aot_eager": "compiled", "": "eager"}.get(task.get("compile"), "ours")
        self.name = "ours" if words == step.OURS else torch

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def answer(self, limit):
        if self.fails.get(self.name) == "answer":
            raise step.Failed("took longer than 3 s")
        rgb = 2.0 if self.fails.get(self.name) == "gap" else 1.0
        first = {"version": self.name, "first_s": 9.0, "parameters": 5, "flops": 1e9, "bytes": 1e9}
        return first | {"answers": [{"rgb": rgb}] * 3}

    def ask(self, calls, limit):
        if self.fails.get(self.name) == "ask":
            raise step.Failed("no memory")
        return {"seconds": [{"ours": 1.0, "compiled": 2.0, "eager": 4.0}[self.name]] * calls,
                "peak_bytes": 2**30}  # fmt: skip


@pytest.mark.parametrize(
    "fails",
    [{}, {"compiled": "answer"}, {"compiled": "ask"}, {"eager": "gap"}, {"ours": "ask"}],
    ids=str,
)
def test_a_program_that_fails_leaves_the_others(fails, monkeypatch, tmp_path):
    monkeypatch.setattr(step, "Program", FakeProgram)
    monkeypatch.setattr(step, "find_torch", lambda make: "python")
    monkeypatch.setattr(step, "make_weights", lambda *_: "weights.npz")
    monkeypatch.setattr(FakeProgram, "fails", fails)
    found, failed = measure(tmp_path, steps=(100, functools.partial(gpu.joint_step, batch=4)))
    steps = found["steps"]
    assert failed == len(fails)
    for name in ("ours", "compiled", "eager"):
        assert ("failed" in steps[name]) == (name in fails)
    if not fails:
        assert steps["compiled"]["ours_is_so_many_times_as_fast"] == 2
        assert steps["eager"]["ours_is_so_many_times_as_fast"] == 4
        assert steps["ours"]["calls"] == 4


def test_without_pytorch_our_step_is_measured_alone(monkeypatch, tmp_path):
    def none(make):
        raise InputError("PyTorch", "none", "one", "install it")

    monkeypatch.setattr(step, "Program", FakeProgram)
    monkeypatch.setattr(step, "find_torch", none)
    found, failed = measure(tmp_path, steps=(100, functools.partial(gpu.joint_step, batch=4)))
    assert failed == 1
    assert "images_per_s" in found["steps"]["ours"]
    assert found["steps"]["failed"].startswith("torch: PyTorch: found none")


def test_a_part_that_may_take_longer_than_what_is_left_is_skipped(tmp_path):
    found, failed = measure(
        tmp_path, budget=100, long=(200, pytest.fail), short=(50, lambda run: {"rate": 1.0})
    )
    assert failed == 0
    assert found["long"]["skipped"] == "100 s are left, and it may take 200 s"
    assert found["short"]["rate"] == 1.0


def test_what_a_cut_run_found_is_kept(tmp_path):
    def cut(run):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path, one=(1, lambda run: {"rate": 2.5}), two=(1, cut))
    assert json.loads((tmp_path / "out" / "gpu.json").read_text())["parts"]["one"]["rate"] == 2.5


def test_every_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(gpu, "NEEDED", ("json", "no_such_one", "no_such.two"))
    with pytest.raises(InputError, match=r"found no module no_such_one, no_such\.two,"):
        gpu.check_imports()


def test_nothing_else_is_needed():
    asked = (ROOT / "pyproject.toml").read_text()
    others = {"orbax", "tensorboardX", "tensorflow", "tensorflow_datasets", "matplotlib"}
    assert all(name.replace("_", "-") in asked for name in others)
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({sorted(others)}))\n"
        "from benchmarks import gpu, gpu_tasks\n"
        "gpu.check_imports()\n"
        "print([name for name in gpu.NEEDED if name not in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def run_gpu(tmp_path, *words):
    """The script as a user starts it."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "benchmarks.gpu", *words, "--out", tmp_path]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_the_trial_measures_the_card(tmp_path):
    done = run_gpu(tmp_path, "--small", "--parts", "card")
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "gpu.json").read_text())["parts"]["card"]
    assert card["platform"] == "cpu"
    assert card["tflops"] > 0
    assert card["gb_per_s"] > 0


def test_without_a_gpu_nothing_but_the_trial_runs(tmp_path):
    done = run_gpu(tmp_path)
    assert done.returncode == 1
    assert "the devices of JAX: found 1 x cpu" in done.stderr
    assert "expected a GPU" in done.stderr
    assert not list(tmp_path.iterdir())


def test_bytes_are_counted_by_line_of_source():
    """The program of a CPU, whose text has the same tables of lines as that of a TPU."""
    # It prepares the environment for libtpu when it is imported.
    with mock.patch.dict(os.environ):
        from benchmarks import compiled

    logits, label = jnp.zeros((1, 5, 32, 32)), jnp.zeros((1, 32, 32), int)
    program = jax.jit(losses.cross_entropy).lower(logits, label).compile()
    moved = dict(compiled.consumers(program.as_text()))
    ours = {place: count for place, count in moved.items() if place.startswith("faceparse_jax/")}
    assert {place.partition(":")[0] for place in ours} == {"faceparse_jax/training/losses.py"}
    # Each logit is read once at least, and no line of the loss makes more than one picture of all.
    assert logits.nbytes <= sum(ours.values()) <= 20 * logits.nbytes


def test_moves_into_a_chips_own_memory_count_once():
    with mock.patch.dict(os.environ):
        from benchmarks import compiled

    text = """ENTRY %main (a: f32[8,128]) -> f32[8,128] {
  %a = f32[8,128]{1,0:T(8,128)} parameter(0)
  %s = (f32[8,128]{1,0}, f32[4,128]{1,0:T(8,128)S(1)}, u32[]{:S(2)}) slice-start(%a)
  %d = f32[4,128]{1,0:T(8,128)S(1)} slice-done(%s), metadata={op_name="jit(f)/slice"}
  %e = f32[4,128]{1,0:T(8,128)S(1)} add(%d, %d), metadata={op_name="jit(f)/add"}
  ROOT %r = f32[8,128]{1,0:T(8,128)} pad(%e, %e), metadata={op_name="jit(f)/pad"}
}"""
    moved = dict(compiled.consumers(text))
    assert moved["jit(f)/add"] == 0
    assert moved["jit(f)/pad"] == 8 * 128 * 4
    assert sum(moved.values()) == (8 + 4) * 128 * 4
