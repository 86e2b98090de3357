"""Small runs: their configs, the command that starts them, the numbers that they log."""

import json
import subprocess
import sys

from faceparse_jax.configs import synthetic_heads
from tests.support.places import ROOT


def tiny_config(data_dir, steps=4):
    c = synthetic_heads.get_config()
    c.devices = 1  # one device compiles in a fraction of the time of eight
    c.data.config, c.data.data_dir, c.data.size = "tiny", str(data_dir), 64
    c.data.depth_fraction = 0.5
    c.augment.crop = 64
    c.model.width, c.model.translator_features = 0.125, 8
    c.train.steps, c.train.batch, c.train.ema = steps, 8, 0.9
    c.eval.every, c.eval.batch, c.eval.pictures = 2, 8, 2
    c.log.every, c.log.pictures_every = 1, steps
    c.checkpoint.every = 2
    return c


def small_config(data_dir, steps=4):
    """The RGB parser alone: it compiles soonest."""
    c = tiny_config(data_dir, steps)
    c.loss.depth = c.loss.e2e = c.loss.mutual = c.loss.translation = 0.0
    c.checkpoint.every, c.checkpoint.keep, c.eval.every = 1, 3, 4
    return c


def numbers(workdir):
    """Logged scalars by step, without the clock."""
    table = {}
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        record.pop("images_per_second", None)
        table.setdefault(record.pop("step"), {}).update(
            {k: v for k, v in record.items() if k not in ("time", "wall_time")}
        )
    return table


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "faceparse_jax.main", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
