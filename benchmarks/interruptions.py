"""Kills a small run with SIGKILL at random moments and compares its end with a whole run.

    python -m benchmarks.interruptions --out runs/interruptions --kills 10

Every step writes a checkpoint, so that many a kill falls into a write. Prints a row for each
kill and whether the final states and the logged numbers are bit for bit those of a run that
nothing disturbed; the exit status is 0 where they are.
"""

import argparse
import json
import pathlib
import random
import re
import subprocess
import sys
import time

from faceparse_jax.checkpoints.store import read_meta
from faceparse_jax.runtime import tables

STEPS = 40
_CONFIG = (
    "--config=configs/synthetic_heads.py",
    "--config.data.config=tiny",
    "--config.data.size=64",
    "--config.augment.crop=64",
    "--config.model.width=0.125",
    "--config.model.translator_features=8",
    f"--config.train.steps={STEPS}",
    "--config.train.batch=8",
    "--config.eval.every=20",
    "--config.eval.batch=8",
    "--config.log.every=1",
    f"--config.log.pictures_every={STEPS}",
    "--config.checkpoint.every=1",
)


def start(workdir: pathlib.Path, data: pathlib.Path) -> subprocess.Popen:
    """The run's command, always the same."""
    words = [sys.executable, "-m", "faceparse_jax.main", f"--workdir={workdir}", *_CONFIG]
    words.append(f"--config.data.data_dir={data}")
    with open(workdir.with_suffix(".log"), "a") as log:
        return subprocess.Popen(words, stdout=log, stderr=log)


def state(workdir: pathlib.Path) -> tuple[int, bool]:
    """The last whole checkpoint's step, and whether another one is half written."""
    names = [p.name for p in (workdir / "checkpoints" / "last").glob("*")]
    whole = [int(name) for name in names if name.isdigit()]
    return max(whole, default=0), any("tmp" in name for name in names)


def scalars(workdir: pathlib.Path) -> list[dict]:
    """Every logged line without what the clock decides."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k != "images_per_second"} for line in lines
    ]


def compare(a: pathlib.Path, b: pathlib.Path, name: str) -> dict[str, bool]:
    """Whether two runs ended with the same state and logged the same numbers."""
    return {
        f"{name}, state": read_meta(a, "last")["sha256"] == read_meta(b, "last")["sha256"],
        f"{name}, scalars": scalars(a) == scalars(b),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    out, rng = options.out.absolute(), random.Random(options.seed)
    out.mkdir(parents=True)
    build = ["--name=synthetic_heads", "--config=tiny", f"--data_dir={out / 'data'}"]
    subprocess.run([sys.executable, "-m", "tfds_builders.build", *build], check=True)
    whole, killed = out / "whole", out / "killed"
    for workdir in (out / "first", whole):  # the first one compiles
        since = time.monotonic()
        if start(workdir, out / "data").wait():
            raise RuntimeError(f"the run failed, see {workdir}.log")
    took = time.monotonic() - since
    rows = [("kill", "seconds after start", "step of last checkpoint", "during a write")]
    equal, ends = {}, 0
    while True:
        process = start(killed, out / "data")
        # Late enough for some steps, and early enough that most starts are killed.
        moment = rng.uniform(0.3, 0.9) * took if len(rows) <= options.kills else None
        try:
            if process.wait(moment):
                raise RuntimeError(f"a start failed, see {killed}.log")
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            step, writing = state(killed)
            rows.append((str(len(rows)), f"{moment:.1f}", str(step), "yes" if writing else "no"))
            continue
        ends += 1  # the run is done: compared, and another one begun for the kills that are left
        equal |= compare(whole, killed, f"killed run {ends}")
        if len(rows) > options.kills:
            break
        killed.rename(out / f"ended_{ends}")
    equal |= compare(whole, out / "first", "second whole run")
    print("\n".join(tables.aligned(rows, numbers_from=1)))
    torn = len(re.findall(r"is damaged", killed.with_suffix(".log").read_text()))
    for what, same in equal.items():
        print(f"{what}: {'bit for bit equal' if same else 'DIFFERENT'}")
    print(f"{len(rows) - 1} kills, {torn} damaged checkpoints, {took:.0f} s for the whole run")
    return 0 if all(equal.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
