"""The rate at which the longer runs learn best: validation data, one seed, the fewest maps."""

from configs.studies import longer


def get_config():
    c = longer.get_config()
    c.title = f"{c.title}, validation photographs, 0.3 % depth"
    c.base.eval.split = "validation"
    c.base.data.depth_fraction = 0.003
    c.seeds = (0,)
    rates = (1.5e-3, 3e-3, 6e-3)
    c.conditions = tuple((f"rate {rate:g}", (("optim.rate", rate),)) for rate in rates)
    c.arms = tuple(arm for arm in c.arms if arm[0] in ("depth alone", "translation"))
    c.scores = c.scores[:2]
    c.baselines = (("depth", "depth alone"),)
    return c
