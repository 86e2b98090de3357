"""The two claims on synthetic heads: scarce depth, small networks, minutes on two cores."""

from configs import synthetic_heads
from configs.studies import arms


def get_config():
    run = synthetic_heads.get_config()
    run.data.size = 64
    run.augment.crop = 64
    run.model.width = 0.25
    run.train.steps = 600
    run.log.every = 100
    run.checkpoint.every = run.train.steps
    c = arms.study("Synthetic heads, rendered depth", run)
    c.seed_keys = ("seed", "data.fraction_seed")
    together = (arms.fading(arm, run.train.steps) for arm in (arms.TRANSLATION, arms.RGB_TEACHES))
    c.arms = (arms.RGB_ALONE, arms.DEPTH_ALONE, *together)
    c.conditions = arms.depth_fractions(0.005)
    return c
