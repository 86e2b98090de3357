"""Translation on synthetic heads: scarce depth, small networks, minutes on two cores.

Steps and rows were chosen on validation data with one seed. Translation puts twice the rows
through the depth parser, so one arm of it alone has as many.
"""

from faceparse_jax.configs import synthetic_heads
from faceparse_jax.configs.studies import arms


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
    rows = run.train.batch = arms.ROWS // 2
    more = arms.variant(arms.MORE_DEPTH, arms.MORE_DEPTH[0], train__batch=2 * rows)
    together = arms.variant(arms.TRANSLATION, arms.TRANSLATION[0], data__paired_rows=rows)
    c.arms = (arms.DEPTH_ALONE, more, arms.fading(together, run.train.steps))
    c.scores = tuple((route, "f1/mean_depth_classes") for route in ("depth", "depth_translated"))
    c.baselines = (("depth", "depth alone"),)
    c.conditions = arms.depth_fractions(0.005)
    return c
