"""Where the translator pays: depth for three to five of 900 photographs, chosen by each seed."""

from configs.studies import arms, celebamask_hq_d


def get_config():
    c = celebamask_hq_d.get_config()
    c.seed_keys = ("seed", "data.fraction_seed")
    c.arms = (arms.DEPTH_ALONE, arms.TRANSLATION)
    c.baselines = (("depth", "depth alone"),)
    c.scores = (("depth", "f1/mean_depth_classes"), ("depth_translated", "f1/mean_depth_classes"))
    c.conditions = arms.depth_fractions(0.003)
    return c
