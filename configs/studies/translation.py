"""Forms of translation where depth is scarce: choices, on validation data, one seed."""

from configs.studies import arms, celebamask_hq_d


def get_config():
    c = celebamask_hq_d.get_config()
    c.title = f"{c.title}, validation photographs, 1 % depth"
    c.base.eval.split = "validation"
    c.base.data.depth_fraction = 0.01
    c.seeds = (0,)
    c.conditions = (("", ()),)
    fades = arms.fading(arms.TRANSLATION, c.base.train.steps, "fades")
    # The discriminator at the width of the other networks.
    adversarial = {"loss__adversarial": 0.1, "model__discriminator_features": 16}
    c.arms = (
        arms.DEPTH_ALONE,
        arms.MORE_DEPTH,
        arms.TRANSLATION,
        fades,
        arms.variant(fades, "fades, split statistics", model__depth_statistics="split"),
        arms.variant(fades, "fades, not end to end", loss__e2e_to_translator=0.0),
        arms.variant(fades, "fades, adversarial", **adversarial),
        arms.variant(fades, "fades, drawn rows in every term", loss__drawn_rows="all"),
        arms.TRANSLATOR,
        arms.fading(arms.APART, c.base.train.steps),
    )
    c.scores = (("depth", "f1/mean_depth_classes"), ("depth_translated", "f1/mean_depth_classes"))
    c.baselines = (("depth", "depth alone"),)
    return c
