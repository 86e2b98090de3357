"""Whether a depth parser teaches an RGB parser where labels are scarce; on validation data.

All photographs have depth. A parser alone sees labelled rows only; parsers that teach each other
see as many, and as many again that have no label but through the other parser.
"""

from configs.studies import arms, celebamask_hq_d

_ALONE = (("data.label_share", 1.0),)
_BESIDE = (("train.batch", 2 * arms.ROWS), ("data.label_share", 0.5))
RGB_ALONE = ("rgb alone", (*arms.terms(rgb=1), *_ALONE))
DEPTH_ALONE = ("depth alone", (*arms.terms(depth=1), *_ALONE))
MUTUAL = ("mutual", (*arms.terms(rgb=1, depth=1, mutual=1), *_BESIDE))


def get_config():
    c = celebamask_hq_d.get_config()
    c.title = f"Validation photographs: {c.title}"
    c.base.eval.split = "validation"
    c.seeds = (0,)
    late = arms.variant(MUTUAL, "mutual, late", loss__mutual_start_step=c.base.train.steps // 3)
    teaches = arms.variant(late, "depth teaches, late", loss__mutual_students="rgb")
    labels = arms.variant(teaches, "depth labels, late", loss__mutual_kind="pseudo")
    c.arms = (
        RGB_ALONE,
        DEPTH_ALONE,
        MUTUAL,
        late,
        teaches,
        arms.variant(teaches, "depth teaches, late, by class", loss__mutual_mean="classes"),
        labels,
        arms.variant(labels, "depth labels, late, by class", loss__mutual_mean="classes"),
    )
    c.scores = tuple((route, "f1/mean_depth_classes") for route in ("rgb", "depth", "fusion"))
    c.conditions = arms.label_fractions(0.003, 0.02)
    return c
