"""The two claims on photographs: shares of depth, parsers alone against parsers together."""

from configs import celebamask_hq_d_128
from configs.studies import arms


def get_config():
    run = celebamask_hq_d_128.get_config()
    run.data.size = 96
    run.augment.crop = 96
    run.model.width = 0.5
    run.model.translator_features = 16
    run.optim.translator_rate = 1e-3
    run.train.batch = 8
    run.train.steps = 600
    run.log.every = 100
    run.checkpoint.every = 200
    c = arms.study("CelebAMask-HQ-D, estimated depth, 96 px, width 0.5, 600 steps of 8", run)
    c.arms = (arms.RGB_ALONE, arms.DEPTH_ALONE, arms.TRANSLATION, arms.FULL)
    c.conditions = arms.depth_fractions(0.01, 0.05, 0.1, 1.0)
    return c
