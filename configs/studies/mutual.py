"""What mutual learning and its variants do at 1 % depth: choices, on validation data, one seed."""

from configs.studies import arms, celebamask_hq_d

_AS_FULL = {"data__depth_fraction": 0.01, "data__depth_share": 0.25}
_SUPPORT = {"loss__mutual_where": "support"}
_CORRECT = {"loss__mutual_trust": "correct"}


def get_config():
    c = celebamask_hq_d.get_config()
    c.title = f"Validation photographs, 1 % depth: {c.title}"
    c.base.eval.split = "validation"
    c.base.data.depth_fraction = 0.01
    c.seeds = (0,)
    c.conditions = (("", ()),)
    c.arms = (
        arms.RGB_ALONE,
        arms.variant(arms.RGB_ALONE, "rgb alone, rows as full", **_AS_FULL),
        arms.DEPTH_ALONE,
        arms.variant(arms.DEPTH_ALONE, "depth alone, all depth", data__depth_fraction=1.0),
        arms.MUTUAL,
        arms.FULL,
        arms.variant(arms.FULL, "full, weight 1, depth", loss__mutual=1.0, **_SUPPORT),
        arms.variant(arms.FULL, "full, weight 1, correct", loss__mutual=1.0, **_CORRECT),
        arms.variant(arms.FULL, "full, where depth is", **_SUPPORT),
        arms.variant(arms.FULL, "full, correct teachers", **_CORRECT),
        arms.variant(arms.FULL, "full, confident teachers", loss__mutual_trust="confidence"),
        arms.variant(arms.FULL, "full, l2", loss__mutual_kind="l2"),
        arms.variant(arms.FULL, "full, gradients to the teacher", loss__stop_gradient=False),
        arms.variant(arms.FULL, "full, temperature 2", loss__temperature=2.0),
        arms.variant(arms.FULL, "full, later", loss__mutual_ramp_steps=300),
        arms.variant(arms.FULL, "full, split statistics", model__depth_statistics="split"),
        arms.variant(arms.FULL, "full, adversarial", loss__adversarial=0.1),
        arms.TRANSLATION,
        arms.variant(arms.TRANSLATION, "translation, a quarter", data__depth_share=0.25),
        arms.variant(arms.TRANSLATION, "translation, not end to end", loss__e2e_to_translator=0.0),
        arms.TRANSLATOR,
        arms.APART,
    )
    return c
