"""An end-to-end term that fades, where depth is scarce: choices, on validation data, one seed."""

from configs.studies import arms, celebamask_hq_d


def get_config():
    c = celebamask_hq_d.get_config()
    c.title = f"Validation photographs: {c.title}"
    c.base.eval.split = "validation"
    c.seeds = (0,)
    c.arms = (arms.DEPTH_ALONE, arms.TRANSLATION, arms.FADES)
    c.baselines = (("depth", "depth alone"),)
    c.scores = (("depth", "f1/mean_depth_classes"), ("depth_translated", "f1/mean_depth_classes"))
    c.conditions = arms.depth_fractions(0.003, 0.01)
    return c
