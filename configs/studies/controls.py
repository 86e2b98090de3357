"""Controls at 1 % depth: more rows of real depth; who teaches whom; mutual learning by class."""

from configs.studies import arms, celebamask_hq_d


def get_config():
    c = celebamask_hq_d.get_config()
    together = (
        arms.fading(arm, c.base.train.steps)
        for arm in (arms.TRANSLATION, arms.RGB_TEACHES, arms.FULL, arms.FULL_BY_CLASS)
    )
    c.arms = (arms.RGB_ALONE, arms.DEPTH_ALONE, arms.MORE_DEPTH, *together)
    c.conditions = arms.depth_fractions(0.01)
    return c
