"""What mutual learning, its variants and the translator's training do, at 5 % depth."""

from configs.studies import arms, celebamask_hq_d


def get_config():
    run = celebamask_hq_d.get_config().base
    run.data.depth_fraction = 0.05
    c = arms.study("CelebAMask-HQ-D, estimated depth of 5 %, 96 px, width 0.25", run)
    c.arms = (
        arms.RGB_ALONE,
        arms.DEPTH_ALONE,
        arms.MUTUAL,
        arms.TRANSLATION,
        arms.TRANSLATOR,
        arms.APART,
        arms.FULL,
        arms.variant(arms.FULL, "full, l2", loss__mutual_kind="l2"),
        arms.variant(arms.FULL, "full, gradients to the teacher", loss__stop_gradient=False),
        arms.variant(arms.FULL, "full, temperature 2", loss__temperature=2.0),
        arms.variant(arms.FULL, "full, split statistics", model__depth_statistics="split"),
        arms.variant(arms.FULL, "full, adversarial", loss__adversarial=0.1),
        arms.variant(arms.FULL, "full, correct teachers", loss__mutual_trust="correct"),
        arms.variant(arms.FULL, "full, confident teachers", loss__mutual_trust="confidence"),
        arms.variant(arms.FULL, "full, mutual learning later", loss__mutual_ramp_steps=300),
    )
    return c
