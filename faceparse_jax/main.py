"""Flags to a frozen config to one mode.

    python -m faceparse_jax.main --config configs/celebamask_hq_d.py --workdir runs/full
    python -m faceparse_jax.main --workdir runs/full --mode evaluate
    python -m faceparse_jax.main --workdir runs/full --mode predict --image photo.jpg --out parsed
    python -m faceparse_jax.main --workdir studies/one --mode study --config configs/studies/X.py
    python -m faceparse_jax.main --workdir runs/full --mode replay

Any key of the config can be overridden: ``--config.optim.rate=0.005``. Evaluation and
prediction take networks and data from the run in the workdir; where evaluation is given
``--config`` too, its `eval` keys, `devices`, `data.data_dir` and `data.source` replace the
run's own.

Several hosts are one run: the same command on each, with ``--coordinator=auto``, or with
``--coordinator=HOST:PORT --processes=N --process=I`` (docs/scale.md).

Exit status: 0; 2 for bad input; 3 where the loss was not finite; 128 + N where signal N
stopped a training run, whose state is then saved.
"""

import os
import pathlib
import signal
import sys

# Before anything imports TensorFlow or JAX.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", os.path.expanduser("~/.cache/faceparse_jax/compiled")
)

from absl import app, flags, logging
from ml_collections import config_flags

from faceparse_jax.errors import InputError, Stopped

MODES = ("train", "evaluate", "predict", "study", "replay")

_CONFIG = config_flags.DEFINE_config_file("config", None, "An experiment in configs/.")
_WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder.", required=True)
_MODE = flags.DEFINE_enum("mode", "train", MODES, "What to do.")
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint", "best", ["best", "last"], "Which checkpoint to evaluate or predict with."
)
_IMAGE = flags.DEFINE_string("image", None, "predict: a photo, or a folder of photos.")
_DEPTH = flags.DEFINE_string("depth", None, "predict: a depth map, or a folder of them.")
_OUT = flags.DEFINE_string("out", None, "predict: the folder to write to.")
_OUTPUT = flags.DEFINE_enum(
    "output",
    None,
    ["fusion", "rgb", "depth", "depth_translated"],
    "predict: the parser to use; by default the best that the input allows.",
)
_PROBABILITIES = flags.DEFINE_bool("probabilities", False, "predict: write class probabilities.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "Several processes: HOST:PORT of process 0, or auto."
)
_PROCESSES = flags.DEFINE_integer("processes", 0, "How many processes the run has.")
_PROCESS = flags.DEFINE_integer("process", -1, "The number of this process, from 0.")
_WAIT = flags.DEFINE_integer("coordinator_timeout", 300, "Seconds to wait for the others.")


def _config():
    """The config of the command line, or None where none was given."""
    config = _CONFIG.value
    try:
        # A file that failed to load gives an object that raises on first use.
        return config if config is None else config.lock()
    except (OSError, AttributeError) as error:
        found = str(error).strip().splitlines()[-1].strip()
        raise InputError("--config", found, "a file of configs/", "ls configs") from error


def _need_config():
    config = _config()
    if config is None:
        raise InputError(
            "--config",
            "nothing",
            "an experiment",
            "add --config configs/synthetic_heads.py or another file of configs/",
        )
    return config


def _run_config():
    """The config of the command line where a run's is expected; None for none."""
    config = _config()
    if config is not None and "arms" in config:
        raise InputError("--config", "a study", "a run", "add --mode study")
    return config


# What only some modes read; elsewhere it would do nothing.
_ONLY = {
    "config": ("train", "evaluate", "study", "replay"),
    "checkpoint": ("evaluate", "predict"),
    **dict.fromkeys(("image", "depth", "out", "output", "probabilities"), ("predict",)),
}


def _check_flags() -> None:
    for name, modes in _ONLY.items():
        if flags.FLAGS[name].present and _MODE.value not in modes:
            raise InputError(
                f"--{name}",
                f"it with --mode {_MODE.value}",
                f"--mode {' or '.join(modes)}",
                f"leave --{name} out",
            )


def _check_workdir(workdir: pathlib.Path) -> None:
    places = (workdir, *workdir.absolute().parents)
    try:
        there = next(place for place in places if place.exists())
    except OSError as error:  # a name that no folder can have
        raise InputError(
            f"--workdir {workdir}", error.strerror, "a folder", "choose another --workdir"
        ) from error
    if not there.is_dir():
        raise InputError(
            f"--workdir {workdir}",
            f"a file, {there}" if there != workdir else "a file",
            "a folder, or nothing yet",
            "choose another --workdir",
        )


def _join_others() -> None:
    if not _COORDINATOR.value and (_PROCESSES.value, _PROCESS.value) == (0, -1):
        return
    if _MODE.value in ("predict", "study", "replay"):
        raise InputError(
            f"--mode {_MODE.value}",
            "--coordinator, --processes or --process",
            "one process",
            "leave them out; several processes train and evaluate",
        )
    from faceparse_jax.runtime import hosts

    hosts.join(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value, _WAIT.value)


def run(_) -> None:
    workdir = pathlib.Path(_WORKDIR.value).expanduser()
    _check_flags()
    _check_workdir(workdir)
    _join_others()
    # Imported here, so that --help and a wrong flag answer at once.
    if _MODE.value == "train":
        from faceparse_jax.checkpoints.store import told_full_disk
        from faceparse_jax.training.loop import train

        _run_config()
        with told_full_disk(workdir):
            train(_need_config(), workdir)
    elif _MODE.value == "evaluate":
        from faceparse_jax.checkpoints.store import told_full_disk
        from faceparse_jax.evaluation.evaluate import evaluate_run

        with told_full_disk(workdir):
            evaluate_run(workdir, _CHECKPOINT.value, _run_config())
    elif _MODE.value == "study":
        from faceparse_jax.checkpoints.store import told_full_disk
        from faceparse_jax.studies.study import run_study

        with told_full_disk(workdir):
            run_study(_need_config(), workdir)
    elif _MODE.value == "replay":
        from faceparse_jax.training.replay import replay

        replay(workdir, _run_config())
    else:
        from faceparse_jax.prediction.files import load, predict_files

        if _OUT.value is None or (_IMAGE.value is None and _DEPTH.value is None):
            raise InputError(
                "--mode predict",
                "no --out" if _OUT.value is None else "neither --image nor --depth",
                "an input and a folder for the output",
                "add --image photo.jpg (or --depth depth.png, or both) --out parsed",
            )
        parser = load(workdir, checkpoint=_CHECKPOINT.value)
        predict_files(
            parser,
            _IMAGE.value,
            _DEPTH.value,
            _OUT.value,
            output=_OUTPUT.value,
            probabilities=_PROBABILITIES.value,
        )


def main() -> None:
    logging.set_verbosity(logging.WARNING)
    try:
        app.run(run, flags_parser=_parse)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except Stopped as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:  # outside the training steps, which save first
        print("stopped; next: the same command again", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def _parse(argv: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS(argv)
    except Exception as error:  # a config is a program and fails as it likes
        # Some errors of config files carry a whole traceback; its end says what happened.
        lines = str(error).strip().splitlines()
        told = lines[-1] if any("Traceback" in line for line in lines) else " ".join(lines)
        reason = f"{type(error).__name__}: {' '.join(told.split())}"
        raise InputError(
            "the command line, or the file of --config",
            reason,
            "flags of faceparse_jax.main and keys of configs/base.py",
            "run python -m faceparse_jax.main --help, and see configs/base.py for the keys",
        ) from error
    if len(rest) > 1:
        raise InputError(
            "command line",
            f"stray words {rest[1:]}",
            "flags only, as --name=value",
            "run python -m faceparse_jax.main --help",
        )
    return rest


if __name__ == "__main__":
    main()
