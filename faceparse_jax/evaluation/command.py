"""`--mode evaluate`."""

from ml_collections import ConfigDict

from faceparse_jax.runtime import hosts, places
from faceparse_jax.runtime.command_line import Flag, Mode, config_flag, run_config
from faceparse_jax.runtime.places import Place


def _evaluate(
    workdir: Place, *, config: ConfigDict | None, checkpoint: str, out: str | None, **others
) -> None:
    run_config(config)
    folder = None if out is None else places.place(out, "--out", writes=True)
    hosts.join(**others)
    from faceparse_jax.checkpoints.store import told_full_disk
    from faceparse_jax.evaluation.evaluate import evaluate_run

    with told_full_disk(folder or workdir):
        evaluate_run(workdir, checkpoint, config, folder)


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
        Flag(
            "out",
            str,
            None,
            "The folder for the scores; evaluation in the workdir where it is left out, and needed "
            "with a packed file.",
        ),
        *hosts.FLAGS,
    ),
    packed=True,
)
