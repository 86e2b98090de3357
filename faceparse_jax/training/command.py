"""`--mode train` and `--mode replay`."""

from ml_collections import ConfigDict

from faceparse_jax.runtime import hosts
from faceparse_jax.runtime.command_line import Mode, config_flag, run_config
from faceparse_jax.runtime.places import Place


def _train(workdir: Place, *, config: ConfigDict, **others) -> None:
    run_config(config)
    hosts.join(**others)
    from faceparse_jax.checkpoints.store import told_full_disk
    from faceparse_jax.training.loop import train

    with told_full_disk(workdir):
        train(config, workdir)


def _replay(workdir: Place, *, config: ConfigDict | None) -> None:
    from faceparse_jax.training.replay import replay

    replay(workdir, run_config(config))


TRAIN = Mode(
    "train",
    "Trains the run of a config, or resumes it; the mode where none is named.",
    _train,
    (
        config_flag(
            "The experiment: a file of configs/, by its path or its name, or one of your own.",
            needed="--config configs/synthetic_heads.py, another file of configs/, or one of your "
            "own that starts from faceparse_jax.config.default()",
        ),
        *hosts.FLAGS,
    ),
)

REPLAY = Mode(
    "replay",
    "Runs the steps again that led to a loss that was not finite, and writes its batch.",
    _replay,
    (
        config_flag(
            "A config whose devices, data.data_dir and data.source replace the run's own.",
        ),
    ),
)
