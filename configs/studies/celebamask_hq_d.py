"""The two claims on photographs: shares of depth, parsers alone against parsers together."""

from configs import celebamask_hq_d_128
from configs.studies import arms


def get_config():
    run = celebamask_hq_d_128.get_config()
    run.data.size = 96
    run.augment.crop = 96
    run.model.width = 0.25
    run.model.translator_features = 12
    run.optim.rate = 3e-3  # by configs/studies/rates.py
    run.optim.translator_rate = 1e-3
    # Half the rows of the joint systems have depth: no fewer than half a baseline's.
    run.train.batch = 16
    run.train.steps = 1200
    run.log.every = 100
    run.checkpoint.every = 400
    c = arms.study("CelebAMask-HQ-D, estimated depth, 96 px, width 0.25, 1,200 steps of 16", run)
    c.arms = (arms.RGB_ALONE, arms.DEPTH_ALONE, arms.TRANSLATION, arms.FULL)
    c.conditions = arms.depth_fractions(0.01, 0.1, 1.0)
    return c
