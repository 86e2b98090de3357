"""Translation on synthetic heads: scarce depth, small networks, minutes on two cores.

The number of steps was chosen on validation data with one seed.
"""

from configs import synthetic_heads
from configs.studies import arms


def get_config():
    run = synthetic_heads.get_config()
    run.data.size = 64
    run.augment.crop = 64
    run.model.width = 0.25
    run.train.steps = 2400
    run.log.every = 100
    run.checkpoint.every = run.train.steps
    c = arms.study("Synthetic heads, rendered depth", run)
    c.seed_keys = ("seed", "data.fraction_seed")
    fades = arms.fading(arms.TRANSLATION, run.train.steps)
    c.arms = (arms.RGB_ALONE, arms.DEPTH_ALONE, fades)
    c.scores = (
        ("depth", "f1/mean_depth_classes"),
        ("depth_translated", "f1/mean_depth_classes"),
        ("rgb", "f1/mean_depth_classes"),
    )
    c.conditions = arms.depth_fractions(0.005)
    return c
