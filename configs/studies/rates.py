"""The rate at which each system learns best: a choice, on validation data, one seed."""

from configs.studies import arms, celebamask_hq_d


def get_config():
    c = celebamask_hq_d.get_config()
    c.title = f"Validation photographs, 1 % depth: {c.title}"
    c.base.eval.split = "validation"
    c.base.data.depth_fraction = 0.01
    c.seeds = (0,)
    c.conditions = tuple((f"rate {rate:g}", (("optim.rate", rate),)) for rate in (1e-3, 3e-3))
    c.arms = (arms.DEPTH_ALONE, arms.RGB_ALONE, arms.TRANSLATION, arms.FULL)
    return c
