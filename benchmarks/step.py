"""The joint training step and one photograph, beside PyTorch: one table.

    python -m benchmarks.step
    python -m benchmarks.step --cases 128x8 --dtypes float32 bfloat16 --compile --photo 0

Both sides begin with the same weights and learn from the same batch, and the benchmark ends with
an error unless they have as many parameters and their terms agree over three steps. Each program
runs in a process of its own. The programs are timed in turns, in rounds, so that a disturbance of
the machine meets all alike; the first call of a turn does not count. Prints a table in Markdown:
the median with the 10th and the 90th percentile, the first call with compilation, and the most
memory that the program held.

PyTorch's programs are benchmarks/torch_step.py. The interpreter that runs them is $TORCH_PYTHON,
or this one if it has PyTorch, or that of .venv-torch, which is made where it is missing.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from faceparse_jax.errors import InputError

ROOT = pathlib.Path(__file__).parents[1]
REQUIREMENTS = ROOT / "benchmarks" / "requirements-torch.txt"
OURS = (sys.executable, "-m", "benchmarks.jax_step")

# By how much the terms may differ, relative: of the first step, and of those after it.
TOLERANCE = {"float32": (1e-3, 3e-2), "bfloat16": (3e-2, 1e-1)}


class Failed(Exception):
    """A program that measures ended with an error, or took too long."""


class Program:
    """A program that measures, in a process of its own, and answers in lines of JSON."""

    def __init__(self, words: Sequence[str], task: Mapping[str, Any], **environment: str):
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the program
        self._process = subprocess.Popen(
            [*words, json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            env=os.environ | environment,
            start_new_session=True,  # so that the processes that compile for it end with it
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._errors.close()

    def answer(self, limit: float | None = None) -> dict[str, Any]:
        """The next line of its output.

        Args:
            limit: seconds to wait.

        Raises:
            Failed: it ended before, or took longer.
        """
        late = threading.Event()

        def end():
            late.set()
            os.killpg(self._process.pid, signal.SIGKILL)

        timer = threading.Timer(limit or threading.TIMEOUT_MAX, end)
        timer.daemon = True
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if line:
            return json.loads(line)
        if late.is_set():
            raise Failed(f"took longer than {limit:.0f} s")
        self._process.wait()
        self._errors.seek(0)
        told = [line for line in self._errors.read().splitlines() if line.strip()]
        raise Failed(told[-1] if told else f"ended with status {self._process.returncode}")

    def ask(self, calls: int, limit: float | None = None) -> dict[str, Any]:
        """Times so many calls.

        Raises:
            Failed: as `answer`.
        """
        with contextlib.suppress(BrokenPipeError):  # it has ended: `answer` says of what
            self._process.stdin.write(f"{calls}\n")
            self._process.stdin.flush()
        return self.answer(limit)


def has(python: str, *modules: str) -> bool:
    """Whether an interpreter finds these modules."""
    code = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {modules})))"
    try:
        return subprocess.run([python, "-c", code], capture_output=True).returncode == 0
    except OSError:
        return False


def end_when_told() -> None:
    """Lets SIGTERM end this process as an error would, so that its programs end with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def find_torch(make: bool = True) -> str:
    """The interpreter that has PyTorch.

    Args:
        make: whether to make an environment where there is none.

    Raises:
        InputError: $TORCH_PYTHON has no PyTorch, or there is none and it cannot be made.
    """
    named = os.environ.get("TORCH_PYTHON")
    if named:
        if has(named, "torch", "numpy"):
            return named
        raise InputError(
            f"TORCH_PYTHON={named}",
            "no interpreter that has the modules torch and numpy",
            "one that has them",
            "name another one, or unset TORCH_PYTHON",
        )
    if importlib.util.find_spec("torch"):
        return sys.executable
    folder = ROOT / ".venv-torch"
    python = str(folder / "bin" / "python")
    if has(python, "torch", "numpy"):
        return python
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    commands = ([sys.executable, "-m", "venv", folder], [*pip, "-r", REQUIREMENTS])
    if make:
        print(f"installing {REQUIREMENTS.name} into {folder} (some minutes)", file=sys.stderr)
    if make and all(subprocess.run(command).returncode == 0 for command in commands):
        return python
    raise InputError(
        str(folder),
        "no PyTorch" + make * ", and it could not be installed",
        f"an environment with {REQUIREMENTS.relative_to(ROOT)}",
        "make one, and set TORCH_PYTHON=ENVIRONMENT/bin/python",
    )


def torch_program(python: str) -> tuple[str, str]:
    """The words that start PyTorch's side."""
    return python, str(ROOT / "benchmarks" / "torch_step.py")


def make_weights(python: str, side: int, folder: pathlib.Path) -> str:
    """Writes fresh weights for pictures of a side; returns the file.

    Raises:
        Failed: PyTorch could not.
    """
    file = folder / f"weights_{side}.npz"
    if not file.exists():
        task = {"do": "weights", "side": side, "file": str(file)}
        done = subprocess.run([*torch_program(python), json.dumps(task)], capture_output=True)
        if done.returncode:
            raise Failed(done.stderr.decode().strip().splitlines()[-1])
    return str(file)


def gap(mine: Mapping[str, Any], theirs: Mapping[str, Any], dtype: str) -> float:
    """The largest relative difference of what two programs computed.

    Raises:
        Failed: another number of parameters, or a difference above the tolerance.
    """
    if mine["parameters"] != theirs["parameters"]:
        raise Failed(f"has {theirs['parameters']:,} parameters, ours {mine['parameters']:,}")
    largest = 0.0
    pairs = zip(mine["answers"], theirs["answers"], strict=True)
    for step, (ours, other) in enumerate(pairs):
        for name, value in ours.items():
            differs = abs(other[name] - value) / max(abs(value), 1e-6)
            if not differs <= TOLERANCE[dtype][step > 0]:
                raise Failed(f"call {step + 1}: {name} is {other[name]:.6g}, ours {value:.6g}")
            largest = max(largest, differs)
    return largest


def programs(flags: argparse.Namespace, python: str, task: Mapping[str, Any]):
    """What is compared, by the name in the table: the words that start it, and its task."""
    torch = torch_program(python)
    layouts = {"contiguous": "contiguous_format", "channels last": "channels_last"}
    found = {"ours": (OURS, task)}
    for name, layout in layouts.items():
        eager = {"memory_format": layout, "compile": "", "runtime": "eager"}
        found[f"PyTorch, {name}"] = (torch, task | eager)
    if flags.compile:
        compiled = {"memory_format": "channels_last", "compile": "inductor", "runtime": "compile"}
        found["PyTorch, torch.compile"] = (torch, task | compiled)
    if task["do"] == "photo" and has(python, "onnx", "onnxruntime", "onnxscript"):
        onnx = {"memory_format": "contiguous_format", "runtime": "onnxruntime"}
        found["ONNX Runtime"] = (torch, task | onnx)
    return found


def measure(flags: argparse.Namespace, python: str, title: str, task: Mapping[str, Any]):
    """Rows of the table for one case, and lines that tell of it.

    Raises:
        Failed: one of the two sides fails, or they do not compute the same.
    """
    rows, notes, seconds = [], [], {}
    with contextlib.ExitStack() as stack:
        running, first, last = {}, {}, {}
        for name, (words, own) in programs(flags, python, task).items():
            print(f"{title}: {name} starts", file=sys.stderr, flush=True)
            program = stack.enter_context(Program(words, own))
            try:
                first[name] = program.answer()
                agrees = gap(first["ours"], first[name], task["dtype"])
            except Failed as error:
                if name != "PyTorch, torch.compile":  # which needs a compiler
                    raise Failed(f"{title}, {name}: {error}") from error
                notes.append(f"{title}, {name}: not measured: {error}")
                continue
            running[name], seconds[name] = program, []
            if name != "ours":
                notes.append(f"{title}, {name}: differs from ours by {agrees:.1e} at most")
        for number in range(flags.rounds):
            print(f"{title}: round {number + 1} of {flags.rounds}", file=sys.stderr, flush=True)
            for name, program in running.items():
                last[name] = program.ask(flags.calls)
                seconds[name] += last[name]["seconds"]
    ours = statistics.median(seconds["ours"])
    for name, values in seconds.items():
        low, middle, high = np.percentile(values, (10, 50, 90))
        rows.append((
            title, name, first[name]["version"], f"{middle:.3f} ({low:.3f} to {high:.3f})",
            f"{task['batch'] / middle:.2f}", f"{middle / ours:.2f}",
            f"{first[name]['first_s']:.1f}", f"{last[name]['peak_bytes'] / 2**30:.1f}",
        ))  # fmt: skip
    notes.append(f"{title}: {first['ours']['parameters']:,} parameters on both sides")
    return rows, notes


HEADER = ("case", "program", "version", "seconds", "images/s", "by ours", "first call, s", "GiB")


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is its header."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def case(word: str) -> tuple[int, int]:
    """Side and batch of a word such as 128x8."""
    side, _, batch = word.partition("x")
    if not (side.isdigit() and batch.isdigit()) or int(side) % 32 or int(batch) < 2 or side == "0":
        raise argparse.ArgumentTypeError(
            f"found {word!r}, expected SIDExBATCH with a side that divides by 32 and a batch of "
            "2 or more; next: 128x8"
        )
    return int(side), int(batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="*", type=case, default=[(128, 8), (256, 4)])
    parser.add_argument("--dtypes", nargs="+", choices=tuple(TOLERANCE), default=["float32"])
    parser.add_argument("--compile", action="store_true", help="torch.compile, too")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--photo", type=int, default=512, help="side of a photograph; 0 for none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=3, help="that are timed in each turn")
    flags = parser.parse_args()
    end_when_told()
    os.environ |= {"JAX_PLATFORMS": flags.device, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    # Programs of an earlier run would make the first call short.
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    python = find_torch()
    tasks = {
        f"step, {side} px, batch {batch}, {dtype}":
            {"do": "step", "side": side, "batch": batch, "dtype": dtype}
        for side, batch in flags.cases for dtype in flags.dtypes
    }  # fmt: skip
    if flags.photo:
        photo = {"do": "photo", "side": flags.photo, "batch": 1, "dtype": "float32"}
        tasks[f"photograph, {flags.photo} px, float32"] = photo
    table, notes = [HEADER], []
    with tempfile.TemporaryDirectory() as folder:
        for title, task in tasks.items():
            file = make_weights(python, task["side"], pathlib.Path(folder))
            given = {"device": flags.device, "weights": file}
            rows, told = measure(flags, python, title, task | given)
            table += rows
            notes += told
            print(markdown([HEADER, *rows]), end="\n\n", flush=True)
    from faceparse_jax.runtime import provenance  # imports JAX, which reads what was set above

    print(f"Revision {provenance.code_version()}, {provenance.device()}.")
    print(*notes, sep="\n", end="\n\n")
    print(markdown(table))


if __name__ == "__main__":
    try:
        main()
    except (InputError, Failed) as error:
        sys.exit(f"error: {error}")
