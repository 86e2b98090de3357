"""`--mode study`."""

import importlib.util

from ml_collections import ConfigDict

from faceparse_jax.errors import not_installed
from faceparse_jax.runtime.command_line import Mode, config_flag
from faceparse_jax.runtime.places import Place


def _study(workdir: Place, *, config: ConfigDict) -> None:
    # The last of a study would fail without them, the tables and the plot.
    for module in ("matplotlib", "scipy"):
        if not importlib.util.find_spec(module):
            raise not_installed("--mode study", module, "study")
    from faceparse_jax.checkpoints.store import told_full_disk
    from faceparse_jax.studies.study import run_study

    with told_full_disk(workdir):
        run_study(config, workdir)


STUDY = Mode(
    "study",
    "Trains and scores the runs of a study, those that are not finished, and writes its tables.",
    _study,
    (
        config_flag(
            "A study's file; --config.base.KEY=VALUE behind it sets a key of its runs.",
            needed="--config configs/studies/synthetic.py or another file of configs/studies/",
        ),
    ),
)
