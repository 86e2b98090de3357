"""The full system on few photographs: from the shipped networks and from scratch.

Each arm has the best of three rates for 10 labels, by the mean F1 of both parsers on validation
data with one seed: 1e-3 of (1e-4, 3e-4, 1e-3), and 3e-3 of (3e-4, 1e-3, 3e-3).
"""

from faceparse_jax.configs import celebamask_hq_d_128
from faceparse_jax.configs.studies import arms

_PHOTOGRAPHS = 900
"""Training photographs of the set that was measured."""


def get_config():
    run = celebamask_hq_d_128.get_config()
    run.augment.crop = 96  # at which the shipped translator fits
    run.model.width = 0.5
    run.model.translator_features = 16
    run.data.label_share = 1.0  # photographs without a label are left out
    run.train.steps = 200
    run.checkpoint.every = run.train.steps
    c = arms.study("CelebAMask-HQ-D, estimated depth, few labels", run)
    run.loss.mutual_mean = "classes"  # as the config has it
    c.seed_keys = ("seed", "data.fraction_seed")
    c.arms = (
        ("from scratch", (("optim.rate", 3e-3),)),
        ("from the shipped networks", (("model.init", "heads"), ("optim.rate", 1e-3))),
    )
    c.conditions = tuple(
        (f"{count} labels", (("data.label_fraction", count / _PHOTOGRAPHS),))
        for count in (10, 30, 100, _PHOTOGRAPHS)
    )
    c.scores = tuple((route, "f1/mean") for route in ("rgb", "depth", "fusion"))
    c.baselines = tuple((route, "from scratch") for route in ("rgb", "depth", "fusion"))
    return c
