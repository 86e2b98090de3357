"""The rate at which each parser learns best: a choice, on validation data, one seed."""

from configs.studies import arms, celebamask_hq_d


def get_config():
    c = celebamask_hq_d.get_config()
    c.title = f"{c.title}, validation photographs, 1 % depth"
    run = c.base
    run.train.steps = run.eval.every = run.log.pictures_every = run.checkpoint.every = 1200
    run.eval.split = "validation"
    run.data.depth_fraction = 0.01
    c.seeds = (0,)
    rates = (1.5e-3, 3e-3, 6e-3)
    c.conditions = tuple((f"rate {rate:g}", (("optim.rate", rate),)) for rate in rates)
    c.arms = (arms.DEPTH_ALONE, arms.RGB_ALONE)
    return c
