"""Whether a depth parser teaches an RGB parser where labels are scarce; on validation data.

All photographs have depth. A parser alone sees labelled rows only; parsers that teach each other
see as many, and as many again that have no label but through the other parser. All but the plain
"mutual" begin to teach after a third of the steps.
"""

from configs.studies import arms, celebamask_hq_d

_ALONE = (("data.label_share", 1.0),)
_BESIDE = (("train.batch", 2 * arms.ROWS), ("data.label_share", 0.5))
RGB_ALONE = ("rgb alone", (*arms.terms(rgb=1), *_ALONE))
DEPTH_ALONE = ("depth alone", (*arms.terms(depth=1), *_ALONE))
MUTUAL = ("mutual", (*arms.terms(rgb=1, depth=1, mutual=1), *_BESIDE))


def late(steps: int):
    """Mutual learning that begins after a third of `steps`, when there is something to teach."""
    return arms.variant(MUTUAL, "mutual, late", loss__mutual_start_step=steps // 3)


def depth_labels(steps: int):
    """The depth parser gives pseudo labels to the RGB parser, whose classes count the same."""
    return arms.variant(
        late(steps),
        "depth labels, by class",
        loss__mutual_students="rgb",
        loss__mutual_kind="pseudo",
        loss__mutual_mean="classes",
    )


def get_config():
    c = celebamask_hq_d.get_config()
    c.title = f"{c.title}, validation photographs"
    c.base.eval.split = "validation"
    c.seeds = (0,)
    both, labels = late(c.base.train.steps), depth_labels(c.base.train.steps)
    teaches = arms.variant(labels, "depth teaches, by class", loss__mutual_kind="kl")
    c.arms = (
        RGB_ALONE,
        arms.by_class(RGB_ALONE),
        DEPTH_ALONE,
        arms.by_class(DEPTH_ALONE),
        MUTUAL,
        arms.variant(both, "mutual, late, by class", loss__mutual_mean="classes"),
        arms.variant(teaches, "depth teaches", loss__mutual_mean="pixels"),
        teaches,
        arms.variant(labels, "depth labels", loss__mutual_mean="pixels"),
        labels,
        arms.variant(labels, "all by class", loss__segmentation_mean="classes"),
    )
    routes = ("rgb", "depth", "fusion")
    c.scores = tuple(
        (route, score) for route in routes for score in ("f1/mean", "f1/mean_depth_classes")
    )
    c.conditions = arms.label_fractions(0.003, 0.02)
    return c
