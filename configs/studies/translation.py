"""What makes translated depth help where depth is scarce: choices, on validation data."""

from configs.studies import arms, synthetic


def get_config():
    c = synthetic.get_config()
    c.title = "Validation heads, rendered depth, 64 px, 400 steps of 16"
    c.base.eval.split = "validation"
    c.scores = (("depth", "f1/mean_depth_classes"), ("depth_translated", "f1/mean_depth_classes"))
    c.baselines = (("depth", "depth alone"),)
    c.arms = (
        arms.DEPTH_ALONE,
        arms.TRANSLATION,
        arms.variant(arms.TRANSLATION, "split statistics", model__depth_statistics="split"),
        arms.variant(arms.TRANSLATION, "later", loss__e2e_ramp_steps=200),
        arms.variant(
            arms.TRANSLATION,
            "later, split statistics",
            loss__e2e_ramp_steps=200,
            model__depth_statistics="split",
        ),
        arms.variant(arms.TRANSLATION, "more real depth", data__depth_share=0.75),
        arms.TRANSLATOR,
        arms.APART,
        arms.variant(arms.APART, "apart, split statistics", model__depth_statistics="split"),
    )
    c.conditions = arms.depth_fractions(0.01, 0.05)
    return c
