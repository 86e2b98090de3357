"""Memory, open files and threads of a run as it goes on.

    python -m benchmarks.long_run --steps 2000 --evaluations 10

A small run of all three networks on synthetic heads, in this process, with everything that a run
does: data, checkpoints, evaluation, TensorBoard. Prints resident memory, file handles and threads
after each evaluation. The first evaluations compile; what comes after them should be flat.
"""

import argparse
import gc
import os
import pathlib
import tempfile

from faceparse_jax.configs import synthetic_heads
from faceparse_jax.runtime import tables
from faceparse_jax.training import loop as run
from faceparse_jax.training.logs import Logs
from tfds_builders.build import build


def resident() -> float:
    """MiB of this process in memory."""
    fields = pathlib.Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Measured(Logs):
    """Notes what the process holds where the run logs scores."""

    rows: list[tuple[str, ...]] = []  # noqa: RUF012, one run in one process

    def scalars(self, step, values):
        super().scalars(step, values)
        if any(name.startswith("validation/") for name in values):
            gc.collect()
            handles, threads = (len(os.listdir(f"/proc/self/{what}")) for what in ("fd", "task"))
            self.rows.append((str(step), f"{resident():.0f}", str(handles), str(threads)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--evaluations", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        build("synthetic_heads", config="tiny", data_dir=pathlib.Path(folder))
        config = synthetic_heads.get_config()
        config.data.config, config.data.data_dir, config.data.size = "tiny", folder, 64
        config.augment.crop = 64
        config.model.width, config.model.translator_features = 0.125, 8
        config.train.steps, config.train.batch, config.train.ema = options.steps, 8, 0.9
        config.eval.every = options.steps // options.evaluations
        config.log.every, config.log.pictures_every = 10, config.eval.every
        config.checkpoint.every = config.eval.every // 2
        run.Logs = Measured
        run.train(config, pathlib.Path(folder) / "run")
    print("\n".join(tables.aligned([("step", "MiB", "handles", "threads"), *Measured.rows])))


if __name__ == "__main__":
    main()
