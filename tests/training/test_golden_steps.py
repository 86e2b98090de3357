"""The first three steps and one evaluation of small systems, as they were before the code moved.

`golden/steps.json` holds the numbers. They say what a change of structure must not change; a
change of meaning writes them anew (``python -m tests.training.test_golden_steps``) and says why.
"""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest

from faceparse_jax import labels
from faceparse_jax.config import parse
from faceparse_jax.configs import base
from faceparse_jax.data import augment
from faceparse_jax.evaluation import boundaries, metrics
from faceparse_jax.evaluation.scoring import Scoring, eval_step
from faceparse_jax.models import system as models
from faceparse_jax.training import objective, optim, step
from faceparse_jax.training.setup import init_state
from tests.support.networks import SmallParser
from tests.support.places import GOLDEN

FILE = GOLDEN / "steps.json"
SCHEME = labels.LAPA
ROWS, SIZE = 8, 48
SCORES = ("f1/mean", "iou/mean", "accuracy", "f1/mean_depth_classes", "boundary_f1/mean")
STILL = {"augment.crop": SIZE, "augment.scales": (1.0,), "augment.flip": 0.0,
         "augment.rotate": 0.0, "augment.jitter": 0.0}  # fmt: skip
ADAMW = {"optim.kind": "adamw", "optim.schedule": "cosine", "optim.rate": 1e-3,
         "optim.head_factor": 1.0, "optim.weight_decay": 0.05}  # fmt: skip


FADES = {"loss.e2e": ((0, 1.0), (4, 0.0))}


def terms(**weights):
    names = ("rgb", "depth", "e2e", "mutual", "translation", "adversarial")
    return {f"loss.{name}": float(weights.get(name, 0.0)) for name in names}


FULL = {"rgb": 1, "depth": 1, "e2e": 1, "mutual": 0.1, "translation": 10}
ALL, FIRST, ODD = range(ROWS), range(ROWS // 2), range(1, ROWS, 2)
# By name: overrides of configs/base.py, and the rows of a batch that have depth.
SYSTEMS = {
    "rgb": (terms(rgb=1), ALL),
    "depth": (terms(depth=1) | ADAMW, FIRST),
    "mutual": (terms(rgb=1, depth=1, mutual=1), ALL),
    "mutual over pixels": (
        terms(rgb=1, depth=1, mutual=1) | {"loss.mutual_mean": "pixels"} | ADAMW,
        FIRST,
    ),
    "translation": (
        terms(depth=1, e2e=1, translation=10) | ADAMW | FADES,
        FIRST,
    ),
    "full": (terms(**FULL) | ADAMW, FIRST),
    "full, no depth": (terms(**FULL), ()),
    "full, split statistics": (
        terms(**FULL) | ADAMW | {"model.depth_statistics": "split"},
        FIRST,
    ),
    "full, rows drawn for depth": (
        terms(**FULL)
        | ADAMW
        | STILL
        | {"train.batch": ROWS // 2, "data.paired_rows": ROWS // 2}
        | FADES,
        ODD,
    ),
    "labels by class, RGB teaches": (
        terms(rgb=1, depth=1, mutual=0.5)
        | {"loss.segmentation_mean": "classes", "loss.mutual_students": "depth"},
        ALL,
    ),
    "adversarial, average, bfloat16": (
        terms(**FULL, adversarial=0.1) | ADAMW | {"train.ema": 0.9, "model.dtype": "bfloat16"},
        ALL,
    ),
}


def config_of(overrides):
    config = base.get_config()
    small = {
        "data.size": SIZE, "augment.crop": 32, "augment.scales": (0.75, 1.0, 1.5),
        "model.width": 0.125, "model.translator_features": 8, "model.discriminator_features": 8,
        "optim.warmup_steps": 2, "optim.warmup_rate": 1e-4, "train.steps": 6, "train.batch": ROWS,
    }  # fmt: skip
    config.update_from_flattened_dict(small | overrides)
    return parse(config)


def make_batch(seed, with_depth):
    """Blobs of every class, and depth for some of the rows."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, SCHEME.num_classes, (ROWS, 6, 6))
    label = np.kron(blocks, np.ones((8, 8), int)).astype(np.uint8)
    label[:, :2] = labels.IGNORE
    has_depth = np.isin(np.arange(ROWS), with_depth)
    noise = rng.integers(0, 40, (ROWS, SIZE, SIZE, 3))
    image = np.stack([20 * label, 215 - 20 * label, 10 * label], -1) % 216 + noise
    depth = np.where((label > 0) & (label != 255), 60 + 15 * label, 0)
    return {
        "image": image.astype(np.uint8),
        "depth": (depth * has_depth[:, None, None])[..., None].astype(np.uint8),
        "label": label,
        "has_depth": has_depth,
    }


def numbers(name):
    """Scalars of three steps, and scores after them, by name."""
    overrides, with_depth = SYSTEMS[name]
    config = config_of(overrides)
    system = models.build(config, SCHEME.num_classes)
    if name != "full":  # which has the run's own networks
        dtype = (system.rgb or system.depth).dtype
        small = SmallParser(SCHEME.num_classes, dtype)
        parsers = {net: small for net in ("rgb", "depth") if getattr(system, net)}
        system = dataclasses.replace(system, **parsers)
    parts = {"system": system, "optimizer": optim.build(config, system)}
    init = functools.partial(
        init_state, **parts, size=config.augment.crop, ema=config.train.ema > 0
    )
    state = jax.jit(init)(jax.random.key(3))
    train_step = jax.jit(
        functools.partial(
            step.train_step,
            **parts,
            loss=objective.build(config),
            augment=augment.build(config, SCHEME),
            ema=config.train.ema,
        )
    )

    def batch_of(seed):
        batch = make_batch(seed, with_depth)
        if not config.data.paired_rows:
            return batch
        first, paired = ({k: v[part::2] for k, v in batch.items()} for part in (0, 1))
        return first | {"paired": paired}

    first = state
    found = {"steps": [], "scores": {}}
    for seed in range(3):
        state, scalars = train_step(state, batch_of(seed), jax.random.key(5))
        scalars.pop("seen")
        found["steps"].append({key: float(value) for key, value in sorted(scalars.items())})
    # Of the fresh networks: three steps of rounding would move some pixels to another class.
    batch = make_batch(9, with_depth) | {"mask": np.arange(ROWS) < ROWS - 1}
    how = Scoring(SCHEME.num_classes, boundary_tolerance=2)
    score = jax.jit(functools.partial(eval_step, system=system, scoring=how))
    for route, counted in score(first.variables(), batch)[0].items():
        scores = metrics.scores(np.asarray(counted["confusion"]), SCHEME)
        scores |= boundaries.scores(np.asarray(counted["boundary"]), SCHEME)
        found["scores"][route] = {key: scores[key] for key in SCORES}
    return found


@pytest.mark.parametrize("name", SYSTEMS)
def test_steps_and_scores_are_those_of_before(name):
    want, got = json.loads(FILE.read_text())[name], numbers(name)
    # What bfloat16 rounds depends on how a program is cut up.
    rounding = (5e-3, 2e-2, 2e-2) if "bfloat16" in name else (1e-5, 3e-4, 1e-3)
    for before, now, tolerance in zip(want["steps"], got["steps"], rounding, strict=True):
        assert now == pytest.approx(before, rel=tolerance, abs=1e-6)
    assert got["scores"].keys() == want["scores"].keys()
    for route, scores in want["scores"].items():
        assert got["scores"][route] == pytest.approx(
            scores, abs=1e-3 if "bfloat16" in name else 1e-4
        )


if __name__ == "__main__":
    FILE.write_text(json.dumps({name: numbers(name) for name in SYSTEMS}, indent=1) + "\n")
