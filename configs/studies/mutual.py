"""Whether the parsers teach each other: labels for all photographs and for three or four of them.

All photographs have depth. A parser alone sees labelled rows only; parsers that teach each other
see as many, and as many again that may have no label but through the other parser. Mutual
learning by class balances the classes, so each parser alone is there with a loss that does so too.
"""

from faceparse_jax.configs.studies import arms, celebamask_hq_d


def get_config():
    c = celebamask_hq_d.get_config()
    labelled = ("data.label_share", 1.0)
    rgb, depth = (
        (f"{name} alone", (*arms.terms(**{name: 1}), labelled)) for name in ("rgb", "depth")
    )
    beside = (("train.batch", 2 * arms.ROWS), ("data.label_share", 0.5))
    mutual = ("mutual", (*arms.terms(rgb=1, depth=1, mutual=0.1), *beside))
    c.arms = (
        rgb,
        arms.by_class(rgb),
        depth,
        arms.by_class(depth),
        mutual,
        arms.variant(mutual, "mutual, by class", loss__mutual_mean="classes"),
    )
    c.scores = tuple(
        (route, score)
        for route in ("rgb", "depth", "fusion")
        for score in ("f1/mean", "f1/mean_depth_classes")
    )
    c.conditions = arms.label_fractions(0.003, 1.0)
    return c
