"""What mutual learning and its variants do: choices, on validation data, one seed.

All photographs have depth, and both parsers see the same rows.
"""

from configs.studies import arms, celebamask_hq_d


def get_config():
    c = celebamask_hq_d.get_config()
    c.title = f"{c.title}, validation photographs"
    c.base.eval.split = "validation"
    c.seeds = (0,)
    c.conditions = (("", ()),)
    c.arms = (
        arms.RGB_ALONE,
        arms.DEPTH_ALONE,
        arms.by_class(arms.RGB_ALONE),
        arms.by_class(arms.DEPTH_ALONE),
        arms.MUTUAL,
        arms.variant(arms.MUTUAL, "by class", loss__mutual_mean="classes"),
        arms.variant(arms.MUTUAL, "weight 1", loss__mutual=1.0),
        arms.variant(
            arms.MUTUAL, "weight 1, by class", loss__mutual=1.0, loss__mutual_mean="classes"
        ),
        arms.variant(
            arms.MUTUAL, "weight 1, correct", loss__mutual=1.0, loss__mutual_trust="correct"
        ),
        arms.variant(arms.MUTUAL, "weight 1, l2", loss__mutual=1.0, loss__mutual_kind="l2"),
        arms.variant(
            arms.MUTUAL, "weight 1, temperature 2", loss__mutual=1.0, loss__temperature=2.0
        ),
        arms.variant(
            arms.MUTUAL,
            "weight 1, gradients to the teacher",
            loss__mutual=1.0,
            loss__stop_gradient=False,
        ),
        arms.variant(
            arms.MUTUAL, "weight 1, depth teaches", loss__mutual=1.0, loss__mutual_students="rgb"
        ),
    )
    c.scores = tuple(
        (route, score)
        for route in ("rgb", "depth")
        for score in ("f1/mean", "f1/mean_depth_classes")
    )
    return c
