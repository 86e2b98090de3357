"""The two claims on synthetic heads: scarce depth, small networks, minutes on two cores."""

from configs import synthetic_heads
from configs.studies import arms


def get_config():
    run = synthetic_heads.get_config()
    run.data.size = 64
    run.augment.crop = 64
    run.model.width = 0.25
    run.train.steps = 300
    run.eval.every = 300
    run.eval.boundary_tolerance = -1
    run.log.every = 100
    run.log.pictures_every = 300
    run.checkpoint.every = 300
    run.checkpoint.keep = 1
    c = arms.study("Synthetic heads, rendered depth, 64 px, 300 steps of 8", run)
    c.arms = (arms.RGB_ALONE, arms.DEPTH_ALONE, arms.TRANSLATION, arms.FULL)
    c.conditions = arms.depth_fractions(0.05, 1.0)
    return c
