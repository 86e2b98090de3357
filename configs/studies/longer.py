"""Four times the steps with three or four depth maps: where a depth parser alone would overfit.

Choices, on validation data, one seed; scores every 800 steps are in each run's metrics.jsonl.
"""

from configs.studies import arms, celebamask_hq_d


def get_config():
    c = celebamask_hq_d.get_config()
    c.title = f"{c.title}, validation photographs, 0.3 % depth"
    run = c.base
    run.eval.every = run.train.steps
    run.train.steps = run.log.pictures_every = run.checkpoint.every = 3200
    run.eval.split = "validation"
    run.data.depth_fraction = 0.003
    c.seeds = (0,)
    c.conditions = (("", ()),)
    fades = arms.fading(arms.TRANSLATION, run.train.steps, "translation that fades")
    c.arms = (arms.RGB_ALONE, arms.DEPTH_ALONE, fades, arms.TRANSLATION)
    c.baselines = (("depth", "depth alone"), ("rgb", "rgb alone"))
    c.scores = (
        ("depth", "f1/mean_depth_classes"),
        ("depth_translated", "f1/mean_depth_classes"),
        ("rgb", "f1/mean_depth_classes"),
    )
    return c
