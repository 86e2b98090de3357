"""Whether a depth parser teaches an RGB parser where labels are scarce; on validation data.

All photographs have depth. A parser alone sees labelled rows only; where parsers teach each
other, half the rows of a batch have no label but through the other parser.
"""

from configs.studies import arms, celebamask_hq_d

_LABELLED, _HALF = ("data.label_share", 1.0), ("data.label_share", 0.5)
_BOTH = (*arms.terms(rgb=1, depth=1, mutual=1), _HALF)
RGB_ALONE = ("rgb alone", (*arms.terms(rgb=1), _LABELLED))
DEPTH_ALONE = ("depth alone", (*arms.terms(depth=1), _LABELLED))
MUTUAL = ("mutual", _BOTH)


def get_config():
    c = celebamask_hq_d.get_config()
    c.title = "Validation photographs, estimated depth, 96 px, width 0.25, 600 steps of 16"
    run = c.base
    run.train.steps = run.eval.every = run.log.pictures_every = run.checkpoint.every = 600
    run.eval.split = "validation"
    c.seeds = (0,)
    late = arms.variant(MUTUAL, "mutual, late", loss__mutual_start_step=200)
    teaches = arms.variant(late, "depth teaches, late", loss__mutual_students="rgb")
    c.arms = (
        RGB_ALONE,
        DEPTH_ALONE,
        ("both, apart", (*arms.terms(rgb=1, depth=1), _HALF)),
        MUTUAL,
        arms.variant(MUTUAL, "mutual, where depth is", loss__mutual_where="support"),
        teaches,
        arms.variant(teaches, "depth teaches, late, where depth is", loss__mutual_where="support"),
        # As many labelled rows as alone.
        arms.variant(
            teaches,
            "depth labels, late, more rows",
            loss__mutual_kind="pseudo",
            data__label_share=2 / 3,
            train__batch=24,
        ),
    )
    c.scores = tuple((route, "f1/mean_depth_classes") for route in ("rgb", "depth", "fusion"))
    c.conditions = arms.label_fractions(0.003, 0.02)
    return c
