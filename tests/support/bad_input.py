"""A corpus of bad inputs: how each is made, the command that meets it, what that must say.

    python -m tests.support.bad_input

prints how many cases each area has. The commands are the real ones. One process imports them
and then forks for each case, since imports take far longer than refusals.
"""

import collections
import contextlib
import dataclasses
import hashlib
import importlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence

from tests.support.places import ROOT

MAIN, BUILD = "faceparse_jax.main", "tfds_builders.build"
_PATIENCE = 120  # seconds for one case
BAD_INPUT = 2


@dataclasses.dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        area: what kind of input it is.
        make: writes the input into a new folder.
        command: the module, then its words; ``{folder}`` is the case's folder, ``{data}`` and
            ``{run}`` are prepared data and a trained run.
        says: what the sentence must hold.
    """

    name: str
    area: str
    make: Callable[[pathlib.Path], object]
    command: Sequence[str]
    says: str


def nothing(folder: pathlib.Path) -> None:
    """For cases whose fault is in the words of the command."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    status: int
    stderr: str
    before: dict[str, str]
    after: dict[str, str]


def listing(folder: pathlib.Path) -> dict[str, str]:
    """Every path below a folder, with a hash of each file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
    }


def run(cases: Sequence[Case], base: pathlib.Path, **places: pathlib.Path) -> dict[str, Outcome]:
    """What the commands do with the cases, by the cases' names."""
    jobs, before = [], {}
    for number, case in enumerate(cases):
        folder = base / str(number)
        folder.mkdir()
        case.make(folder)
        before[case.name] = listing(folder)
        words = [str(word).format(folder=folder, **places) for word in case.command]
        jobs.append({"module": words[0], "words": words[1:], "stderr": str(base / f"{number}.err")})
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.bad_input", "serve"],
        input=json.dumps(jobs), cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    statuses = json.loads(done.stdout.splitlines()[-1])
    return {
        case.name: Outcome(
            status,
            (base / f"{number}.err").read_text(),
            before[case.name],
            listing(base / str(number)),
        )
        for number, (case, status) in enumerate(zip(cases, statuses, strict=True))
    }


def check(case: Case, outcome: Outcome) -> None:
    """One sentence, the documented status, no traceback, nothing written or changed."""
    assert "Traceback" not in outcome.stderr, outcome.stderr
    errors = [line for line in outcome.stderr.splitlines() if "error: " in line]
    assert len(errors) == 1, outcome.stderr
    assert case.says in outcome.stderr, outcome.stderr
    assert outcome.status == BAD_INPUT, outcome
    assert outcome.after == outcome.before


def _serve() -> None:
    jobs = json.load(sys.stdin)
    modules = {name: importlib.import_module(name) for name in {job["module"] for job in jobs}}
    # What the commands import late; JAX itself is not started before the fork.
    for name in (
        "tensorflow",
        "tensorflow_datasets",
        "orbax.checkpoint",
        "faceparse_jax.studies.study",
    ):
        importlib.import_module(name)
    print(json.dumps([_forked(modules[job["module"]], job) for job in jobs]))


def _forked(module, job: dict) -> int:
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.alarm(_PATIENCE)  # ends a child that hangs
    status = 1
    with open(job["stderr"], "w") as err, open(os.devnull, "w") as out:
        os.dup2(err.fileno(), 2)
        os.dup2(out.fileno(), 1)
        sys.argv = [job["module"], *job["words"]]
        try:
            status = module.main() or 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        with contextlib.suppress(ValueError, OSError):
            sys.stderr.flush()
        os._exit(status)


def corpus() -> list[Case]:
    """Every case."""
    from tests.support import (  # they import this module
        bad_files,
        bad_runs,
        bad_state,
        bad_weights,
    )

    return [*bad_files.CASES, *bad_runs.CASES, *bad_state.CASES, *bad_weights.CASES]


def count(cases: Sequence[Case]) -> str:
    """Cases by area, as a Markdown table."""
    areas = collections.Counter(case.area for case in cases)
    rows = [f"| {area} | {number} |" for area, number in areas.items()]
    return "\n".join(["| area | cases |", "|---|---|", *rows, f"| all | {len(cases)} |"])


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        _serve()
    else:
        print(count(corpus()))
