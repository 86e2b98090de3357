"""Numbers of a run: JSON lines, TensorBoard files, and a line of progress."""

import json
import math
import pathlib
import sys
import time
from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8
from tensorboardX import SummaryWriter

from faceparse_jax.errors import InputError


class Logs:
    """Writes ``metrics.jsonl`` and ``tensorboard/`` in the run's folder.

    A context manager. Where a run is resumed, no step appears twice: lines after
    `start_step` and a line torn by a crash are dropped from ``metrics.jsonl``, and
    TensorBoard is told to forget what came after.

    Args:
        workdir: the run's folder.
        total_steps: steps of the whole run, for the progress line.
        start_step: steps done before.
        lead: False on processes that should write and print nothing.

    Raises:
        InputError: ``metrics.jsonl`` holds a whole line that is not one of these.
    """

    def __init__(
        self, workdir: pathlib.Path, total_steps: int, start_step: int = 0, lead: bool = True
    ):
        self._total = total_steps
        self._lead = lead
        self._start = start_step
        self._since = time.monotonic()
        self._open_line = False
        if lead:
            workdir.mkdir(parents=True, exist_ok=True)
            path = workdir / "metrics.jsonl"
            _keep_until(path, start_step)
            self._file = path.open("a", encoding="utf-8")
            # tensorboardX names files by the second: a quick restart would overwrite one.
            self._tensorboard = SummaryWriter(
                str(workdir / "tensorboard"),
                purge_step=start_step + 1,
                filename_suffix=f".{start_step}",
            )

    def __enter__(self) -> "Logs":
        return self

    def __exit__(self, *_) -> None:
        if self._lead:
            if self._open_line:
                print(file=sys.stderr)
            self._file.close()
            self._tensorboard.close()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Appends one JSON line, written at once, and TensorBoard scalars.

        A value that is not finite is null in the JSON line.
        """
        if not self._lead:
            return
        numbers = {name: float(value) for name, value in values.items()}
        # JSON has no NaN and no infinity.
        finite = {k: v if math.isfinite(v) else None for k, v in numbers.items()}
        self._file.write(json.dumps({"step": step, **finite}) + "\n")
        self._file.flush()
        for name, value in numbers.items():
            self._tensorboard.add_scalar(name, value, step)

    def pictures(self, step: int, name: str, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Adds a picture to TensorBoard."""
        if self._lead:
            self._tensorboard.add_image(name, picture, step, dataformats="HWC")
            self._tensorboard.flush()

    def progress(self, step: int, images_per_second: float, rate: float, loss: float) -> None:
        """Prints step, loss, rate, speed and the time left to standard error.

        On a terminal the line replaces the one before.
        """
        if not self._lead:
            return
        done = max(step - self._start, 1)
        left = (time.monotonic() - self._since) / done * max(self._total - step, 0)
        line = (
            f"step {step:>{len(str(self._total))}}/{self._total}  loss {loss:.4f}  "
            f"rate {rate:.2e}  {images_per_second:.1f} images/s  {_duration(left)} left"
        )
        self._open_line = sys.stderr.isatty()
        if self._open_line:
            # To the end of the line: the one before may have been longer.
            print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def _keep_until(path: pathlib.Path, step: int) -> None:
    """Cuts a torn last line off, and all lines after `step`."""
    if not path.exists():
        return
    before = path.read_bytes()
    kept = []
    for number, line in enumerate(before[: before.rfind(b"\n") + 1].splitlines(keepends=True), 1):
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}, line {number}",
                repr(line[:40]),
                "a JSON object with a step",
                "delete the line, or move the file away to begin a new one",
            ) from error
    after = b"".join(kept)
    if after != before:
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(after)
        partial.replace(path)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
