"""Where depth is scarcest: three or four of 900 photographs have it, chosen by each seed."""

from configs.studies import arms, celebamask_hq_d


def get_config():
    c = celebamask_hq_d.get_config()
    c.arms = (arms.DEPTH_ALONE, arms.fading(arms.TRANSLATION, c.base.train.steps))
    c.baselines = (("depth", "depth alone"),)
    c.scores = (("depth", "f1/mean_depth_classes"), ("depth_translated", "f1/mean_depth_classes"))
    c.conditions = arms.depth_fractions(0.003)
    return c
