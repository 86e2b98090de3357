"""The two claims on synthetic heads: scarce depth, small networks, minutes on two cores."""

from configs import synthetic_heads
from configs.studies import arms


def get_config():
    run = synthetic_heads.get_config()
    run.data.size = 64
    run.augment.crop = 64
    run.model.width = 0.25
    run.train.steps = 400
    run.train.batch = 16
    run.log.every = 100
    run.checkpoint.every = 400
    c = arms.study("Synthetic heads, rendered depth, 64 px, 400 steps of 16", run)
    c.arms = (arms.RGB_ALONE, arms.DEPTH_ALONE, arms.TRANSLATION, arms.FULL)
    c.conditions = arms.depth_fractions(0.05)
    return c
