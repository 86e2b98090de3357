"""What there is to measure on a GPU, in one script.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --small                # a trial on the CPU, small
    python -m benchmarks.gpu --parts step-64 kernels

The parts are, in this order: the card's measured rates; the joint step at 448 px in bfloat16 with
16 images, ours, by torch.compile and in eager PyTorch; the terms and gradients of the step
against those of the CPU; the renderer of heads; evaluation and prediction; the kernels of our
step; and the joint step with 64 images. A part is skipped where the time that it may take is
longer than what is left of --budget, and --budget 1020 runs all of them: compilation takes minutes.
What fails says why, and the rest goes on. Results are printed at once and written to OUT/gpu.json
after each part; OUT is --out, or $OUT, or runs/gpu.

In the trial torch.compile captures the program and generates no code (its backend aot_eager),
since that takes minutes on a CPU.

It needs neither TensorFlow nor a network. PyTorch is that of $TORCH_PYTHON, of this interpreter or
of .venv-torch; without it our step is measured alone.
"""

import argparse
import contextlib
import dataclasses
import functools
import importlib.util
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import step
from faceparse_jax.errors import InputError
from faceparse_jax.runtime import records

# What the measured code imports, which a machine made for PyTorch may lack.
NEEDED = ("jax", "flax", "optax", "jaxtyping", "PIL", "ml_collections", "pydantic",
          "annotated_types", "absl", "tqdm")  # fmt: skip

TASKS = (sys.executable, "-m", "benchmarks.gpu_tasks")

TERM, GRADIENT = "largest relative difference of a term", "of a gradient, by its norm"
TOLERANCE = {"float32": {TERM: 1e-3, GRADIENT: 2e-2}, "bfloat16": {TERM: 1e-1, GRADIENT: 8e-1}}
"""How far the device may be from float32 on the CPU."""


@dataclasses.dataclass
class Run:
    """What the parts share.

    Attributes:
        small: whether this is the trial on the CPU.
        folder: for files that go with the run.
        found: results of the parts so far, by name.
        deadline: when the part that runs must have ended, by `time.monotonic`.
    """

    small: bool
    folder: pathlib.Path
    found: dict[str, Any] = dataclasses.field(default_factory=dict)
    deadline: float = 0.0

    def left(self) -> float:
        """Seconds that the part still has."""
        return max(self.deadline - time.monotonic(), 1.0)

    def task(self, small: Mapping[str, Any], full: Mapping[str, Any], **both: Any):
        """A task of the trial's size or of full size."""
        return dict(small if self.small else full) | both


def tasks(run: Run, task: Mapping[str, Any], **environment: str) -> dict[str, Any]:
    """The answer of a task of benchmarks/gpu_tasks.py."""
    with step.Program(TASKS, task, **environment) as program:
        return program.answer(run.left())


class NoGpu(InputError):
    """There is nothing to measure."""


def card(run: Run) -> dict[str, Any]:
    """The rates of the card.

    Raises:
        NoGpu: JAX sees only a CPU, and it is not the trial.
    """
    sizes = {"matrix": 512, "bytes": 2**24}, {"matrix": 8192, "bytes": 2**31}
    found = tasks(run, run.task(*sizes, do="card", on_cpu=run.small))
    if found["platform"] == "cpu" and not run.small:
        raise NoGpu(
            "the devices of JAX",
            found["device"],
            "a GPU",
            "install JAX for it (docs/scale.md), or try --small",
        )
    return found


def against_cpu(run: Run) -> dict[str, Any]:
    """How far the terms and the gradients are from those of float32 on the CPU.

    Raises:
        Failed: farther than `TOLERANCE`.
    """
    small, full = {"side": 64, "batch": 8}, {"side": 128, "batch": 8}
    # In the trial, float32 on the device is the reference itself.
    names = ["cpu", "bfloat16"] if run.small else ["cpu", "float32", "bfloat16"]
    arrays = {}
    with contextlib.ExitStack() as stack:
        started = {}
        for name in names:  # at the same time: nothing is timed here
            file = str(run.folder / f"{name}.npz")
            dtype = "float32" if name == "cpu" else name
            task = run.task(small, full, do="gradients", dtype=dtype, file=file)
            environment = {"JAX_PLATFORMS": "cpu"} if name == "cpu" else {}
            program = step.Program(TASKS, task, **environment)
            started[file] = stack.enter_context(program)
        for name, (file, program) in zip(names, started.items(), strict=True):
            program.answer(run.left())
            with np.load(file) as loaded:
                arrays[name] = {key: loaded[key].astype(np.float64) for key in loaded.files}
            os.remove(file)
    result = {name: differences(arrays["cpu"], arrays[name]) for name in names[1:]}
    for name, found in result.items():
        if not all(found[what] <= most for what, most in TOLERANCE[name].items()):
            raise step.Failed(f"{told(result)}; expected at most {told(TOLERANCE)}")
    return result


def differences(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]):
    """The largest relative differences of terms and of gradients."""
    gaps = {
        name: float(np.linalg.norm(other[name] - value) / np.linalg.norm(value))
        for name, value in one.items()
    }
    return {
        what: max(gap for name, gap in gaps.items() if name.startswith(kind))
        for what, kind in ((TERM, "term"), (GRADIENT, "gradient"))
    }


_TO_TIME = 60
"""Seconds that the programs need for what is timed, once they are compiled."""


def joint_step(run: Run, batch: int) -> dict[str, Any]:
    """The joint step by program: ours, by torch.compile and in eager PyTorch.

    The first two compile at the same time, which takes minutes, and are timed in turn afterwards.
    """
    small = {"side": 64, "batch": 2, "device": "cpu", "calls": 2}
    full = {"side": 448, "batch": batch, "device": "cuda", "calls": 10}
    layout = "channels_last"
    task = run.task(small, full, do="step", dtype="bfloat16", memory_format=layout)
    steps = _Steps(run, task)
    python = steps.tried("torch", step.find_torch, False)
    if python:
        weights = steps.tried("torch", step.make_weights, python, task["side"], run.folder)
    task["weights"] = (python and weights) or ""
    if not task["weights"]:
        steps.measure({"ours": (step.OURS, task)})
        return steps.result()
    torch = step.torch_program(python)
    backend = "aot_eager" if run.small else "inductor"
    steps.measure({"ours": (step.OURS, task), "compiled": (torch, task | {"compile": backend})})
    steps.measure({"eager": (torch, task | {"compile": ""})})
    return steps.result()


class _Steps:
    """Programs that make the same step; one that fails says why, and the others go on."""

    def __init__(self, run: Run, task: Mapping[str, Any]):
        self._run, self._task = run, task
        self._first: dict[str, Any] = {}
        self._found: dict[str, dict[str, Any]] = {}

    def tried(self, name: str, function: Callable, *arguments: Any) -> Any:
        """What the function gives; None where it fails, which is told of the program."""
        try:
            return function(*arguments)
        except (step.Failed, InputError) as error:
            self._found[name] = {"failed": str(error)}
            return None

    def measure(self, programs: Mapping[str, tuple[Sequence[str], Mapping[str, Any]]]) -> None:
        """Starts all programs, each given by its words and its task, then times them in turn."""
        left = self._run.left
        # One that compiles for too long leaves time to measure the others.
        later = _TO_TIME if len(programs) > 1 and not self._run.small else 0
        with contextlib.ExitStack() as stack:
            running = {
                name: stack.enter_context(step.Program(*its)) for name, its in programs.items()
            }
            for name, program in running.items():
                if first := self.tried(name, program.answer, max(left() - later, 1.0)):
                    self._first[name] = first
            timed: dict[str, list[dict[str, Any]]] = {name: [] for name in running}
            for _ in range(2):
                for name in [name for name in running if name not in self._found]:
                    answer = self.tried(name, running[name].ask, self._task["calls"], left())
                    timed[name].append(answer)
        for name in [name for name in running if name not in self._found]:
            if told := self.tried(name, self._told, name, timed[name]):
                self._found[name] = told

    def _told(self, name: str, timed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What is told of one program.

        Raises:
            Failed: its terms are not those of ours.
        """
        seconds = [second for of in timed for second in of["seconds"]]
        low, middle, high = np.percentile(seconds, (10, 50, 90))
        task, rows = self._task, self._task["batch"]
        its, ours = self._first[name], self._first.get("ours")
        result = {
            "version": its["version"],
            "side": task["side"],
            "batch": rows,
            "calls": len(seconds),
            "images_per_s": [rows / middle, rows / high, rows / low],
            "first_call_s": its["first_s"],
            "peak_gib": timed[-1]["peak_bytes"] / 2**30,
            "first": its,
        }
        rates = self._run.found.get("card", {})
        if ours and ours["flops"] and "tflops" in rates:
            result["share_of_matrix_rate"] = ours["flops"] / middle / 1e12 / rates["tflops"]
        if name == "ours" and ours["bytes"] and "gb_per_s" in rates:
            result["share_of_memory_rate"] = ours["bytes"] / middle / 1e9 / rates["gb_per_s"]
        if name != "ours" and "images_per_s" in self._found.get("ours", {}):
            rate = self._found["ours"]["images_per_s"][0]
            result["ours_is_so_many_times_as_fast"] = rate / result["images_per_s"][0]
        if name != "ours" and ours:
            result["differs_from_ours"] = step.gap(ours, its, task["dtype"])
        return result

    def result(self) -> dict[str, Any]:
        """What was found of each program, and which of them failed."""
        failed = [f"{name}: {of['failed']}" for name, of in self._found.items() if "failed" in of]
        return self._found | ({"failed": "; ".join(failed)} if failed else {})


def kernels(run: Run) -> dict[str, Any]:
    """Where our step's time goes on the device: its kernels, by the time they take."""
    small, full = {"side": 64, "batch": 2}, {"side": 448, "batch": 16}
    task = run.task(small, full, do="kernels", dtype="bfloat16", shown=25)
    return tasks(run, task)


def inference(run: Run) -> dict[str, Any]:
    small, full = {"side": 64, "batch": 2, "calls": 2}, {"side": 512, "batch": 32, "calls": 10}
    return tasks(run, run.task(small, full, do="inference", dtype="bfloat16"))


def heads(run: Run) -> dict[str, Any]:
    """The renderer on the device and, for comparison, on the CPU."""
    task = run.task({"sizes": [64], "count": 16}, {"sizes": [128, 512], "count": 64}, do="heads")
    found = {"device": tasks(run, task)}
    if run.small:
        return found
    on_cpu = task | {"sizes": [128], "count": 32}
    return found | {"cpu": tasks(run, on_cpu, JAX_PLATFORMS="cpu")}


@dataclasses.dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        most: seconds that it may take.
        measure: takes the run and returns results.
    """

    most: float
    measure: Callable[[Run], dict[str, Any]]


# What matters most comes first, since a budget may leave out the last ones.
PARTS: Mapping[str, Part] = {
    "card": Part(40, card),
    "step-16": Part(240, functools.partial(joint_step, batch=16)),
    "against-cpu": Part(150, against_cpu),
    "heads": Part(120, heads),
    "inference": Part(80, inference),
    "kernels": Part(150, kernels),
    "step-64": Part(240, functools.partial(joint_step, batch=64)),
}


def told(value: Any) -> str:
    """A result in a few words."""
    if isinstance(value, Mapping):
        shown = {k: v for k, v in value.items() if k not in ("first", "libraries")}
        return "; ".join(f"{key.replace('_', ' ')} {told(v)}" for key, v in shown.items())
    if isinstance(value, list):
        return f"{told(value[0])} ({', '.join(told(v) for v in value[1:])})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def measure(run: Run, parts: Mapping[str, Part], budget: float, out: pathlib.Path) -> int:
    """Runs the parts within the budget in seconds, and writes what they found after each.

    Returns:
        How many failed.
    """
    begin, failed = time.monotonic(), 0
    record = {"small": run.small, "argv": sys.argv[1:], "parts": {}}
    for name, part in parts.items():
        start = time.monotonic()
        left = budget - (start - begin)
        if part.most > left:
            result = {"skipped": f"{left:.0f} s are left, and it may take {part.most:.0f} s"}
        else:
            # A CPU that others use too may be many times as slow as a card.
            run.deadline = begin + budget if run.small else start + part.most
            try:
                run.found[name] = result = part.measure(run)
                failed += "failed" in result
            except NoGpu:
                raise
            except Exception as error:  # whatever it is, the other parts go on
                failed += 1
                result = {"failed": " ".join(f"{type(error).__name__}: {error}".split())}
        took = time.monotonic() - start
        record["parts"][name] = result | {"took_s": took}
        records.write(out, record)
        print(f"{name}, {took:.0f} s: {told(result)}", flush=True)
    return failed


def check_imports() -> None:
    """Refuses to start where a package is missing.

    Raises:
        InputError: some are missing, all of them named.
    """

    def there(name):
        try:
            return importlib.util.find_spec(name)
        except ModuleNotFoundError:  # the package of a module in it
            return None

    missing = [name for name in NEEDED if not there(name)]
    if missing:
        raise InputError(
            "the environment",
            f"no module {', '.join(missing)}",
            "what pyproject.toml asks for",
            "install it; docs/speed.md says how without a network",
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a trial on the CPU")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS),
                        help="besides the card, which is always measured")  # fmt: skip
    parser.add_argument("--budget", type=float, default=450, help="seconds for all parts")
    parser.add_argument("--out", type=pathlib.Path, default=os.environ.get("OUT", "runs/gpu"))
    flags = parser.parse_args()
    check_imports()
    step.end_when_told()
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    chosen = {name: part for name, part in PARTS.items() if name in ("card", *flags.parts)}
    with tempfile.TemporaryDirectory() as folder:
        run = Run(flags.small, pathlib.Path(folder))
        if flags.small:
            # Quickly compiled, and once for parts that run the same program.
            os.environ["JAX_PLATFORMS"] = "cpu"
            os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
            os.environ["OMP_NUM_THREADS"] = "1"  # PyTorch's threads spin where others compute
            os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
        failed = measure(run, chosen, flags.budget, flags.out / "gpu.json")
    print(f"written: {flags.out / 'gpu.json'}")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
