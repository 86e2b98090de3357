"""The two claims on photographs: shares of depth, parsers alone against parsers together."""

from faceparse_jax.configs import celebamask_hq_d_128
from faceparse_jax.configs.studies import arms


def get_config():
    run = celebamask_hq_d_128.get_config()
    run.data.size = 96
    run.augment.crop = 96
    run.model.width = 0.25
    run.model.translator_features = 12
    run.optim.rate = 3e-3  # the best of three for the RGB parser alone, docs/results.md
    run.optim.translator_rate = 1e-3
    run.train.steps = 800
    run.log.every = 100
    run.checkpoint.every = run.train.steps
    c = arms.study("CelebAMask-HQ-D, estimated depth", run)
    c.seed_keys = ("seed", "data.fraction_seed")
    # An end-to-end term that fades was chosen on validation data, docs/results.md.
    together = (arms.fading(arm, run.train.steps) for arm in (arms.TRANSLATION, arms.RGB_TEACHES))
    c.arms = (arms.RGB_ALONE, arms.DEPTH_ALONE, *together)
    c.conditions = arms.depth_fractions(0.01, 0.05, 0.1, 1.0)
    return c
