"""`--mode evaluate`."""

from ml_collections import ConfigDict

from faceparse_jax.runtime import hosts
from faceparse_jax.runtime.command_line import Flag, Mode, config_flag, run_config
from faceparse_jax.runtime.places import Place


def _evaluate(workdir: Place, *, config: ConfigDict | None, checkpoint: str, **others) -> None:
    run_config(config)
    hosts.join(**others)
    from faceparse_jax.checkpoints.store import told_full_disk
    from faceparse_jax.evaluation.evaluate import evaluate_run

    with told_full_disk(workdir):
        evaluate_run(workdir, checkpoint, config)


EVALUATE = Mode(
    "evaluate",
    "Scores a run's checkpoint on held-out data; networks and data are those of the run.",
    _evaluate,
    (
        Flag("checkpoint", ("best", "last"), "best", "The checkpoint to score."),
        config_flag(
            "A config whose eval keys, devices, data.data_dir and data.source replace the "
            "run's own.",
        ),
        *hosts.FLAGS,
    ),
)
