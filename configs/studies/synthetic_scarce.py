"""What translation does for the depth parser where depth is very scarce: synthetic heads."""

from configs.studies import arms, synthetic


def get_config():
    c = synthetic.get_config()
    c.title = "Synthetic heads, rendered depth, 64 px, 800 steps of 16"
    run = c.base
    run.train.steps = run.eval.every = run.log.pictures_every = run.checkpoint.every = 800
    # Depth for 5, 7 and 7 of 1,000 heads. Seed 0 would leave it to none.
    c.seeds = (1, 2, 3)
    c.seed_keys = ("seed", "data.fraction_seed")
    c.arms = (arms.DEPTH_ALONE, arms.TRANSLATION)
    c.scores = (("depth", "f1/mean_depth_classes"), ("depth_translated", "f1/mean_depth_classes"))
    c.baselines = (("depth", "depth alone"),)
    c.conditions = arms.depth_fractions(0.003)
    return c
