"""A small study, and changes of it and of the files that it leaves."""

import json

from faceparse_jax.configs.studies import arms
from tests.support.runs import tiny_config


def tiny_study(data_dir=""):
    c = arms.study("Tiny", tiny_config(data_dir, steps=2))
    c.arms = (arms.RGB_ALONE, arms.DEPTH_ALONE, arms.TRANSLATOR, arms.APART)
    c.conditions = arms.depth_fractions(0.5, 1.0)
    c.seeds = (0, 1)
    return c


def changed(**values):
    c = tiny_study()
    with c.unlocked():
        c.update(values)
    return c


def edit(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def both_alone():
    return arms.RGB_ALONE, arms.DEPTH_ALONE
