"""Four times the steps with few depth maps, which the depth parser then knows by heart.

The number of steps was chosen on validation data with one seed. Translation puts twice the rows
through the depth parser, so one arm of it alone has as many.
"""

from faceparse_jax.configs.studies import arms, celebamask_hq_d


def get_config():
    c = celebamask_hq_d.get_config()
    run = c.base
    run.train.steps = run.eval.every = run.log.pictures_every = run.checkpoint.every = 3200
    together = (arms.fading(arm, run.train.steps) for arm in (arms.TRANSLATION, arms.FULL_BY_CLASS))
    c.arms = (arms.RGB_ALONE, arms.DEPTH_ALONE, arms.MORE_DEPTH, *together)
    c.scores = (
        ("depth", "f1/mean_depth_classes"),
        ("depth_translated", "f1/mean_depth_classes"),
        ("rgb", "f1/mean_depth_classes"),
    )
    c.conditions = arms.depth_fractions(0.003, 0.01)
    return c
