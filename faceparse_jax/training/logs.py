"""Numbers of a run: JSON lines, TensorBoard files, and a line of progress."""

import contextlib
import json
import math
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from jaxtyping import UInt8
from tensorboardX import SummaryWriter

from faceparse_jax.errors import InputError
from faceparse_jax.runtime import places, progress
from faceparse_jax.runtime.places import Place

_PUBLISHED_EACH = 30  # seconds; a bucket takes one write a second of an object


class Logs:
    """Writes ``metrics.jsonl`` and ``tensorboard/`` in the run's folder.

    A context manager. Where a run is resumed, no step appears twice: lines after
    `start_step` and a line torn by a crash are dropped from ``metrics.jsonl``, and
    TensorBoard is told to forget what came after.

    Nothing can be appended to what lies on a bucket. There, the files are written in a temporary
    folder and published as a whole, each half a minute and when `publish` is called. A bucket that
    does not answer within the half minute costs a warning, and is tried again at the next.

    Args:
        workdir: the run's folder.
        total_steps: steps of the whole run, for the progress line.
        start_step: steps done before.
        lead: False on processes that should write and print nothing.
        clock: the time in seconds.

    Raises:
        InputError: ``metrics.jsonl`` holds a whole line that is not one of these.
    """

    def __init__(
        self,
        workdir: Place,
        total_steps: int,
        start_step: int = 0,
        lead: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._total = total_steps
        self._lead = lead
        # The first step compiles, and its time is not that of the others.
        self._first = start_step + 1
        self._compiled: set[str] = set()
        self._clock = clock
        self._since = self._told = clock()
        self._open_line = False
        if lead:
            self._workdir, self._folder = workdir, workdir
            path = workdir / "metrics.jsonl"
            if places.on_bucket(workdir):
                self._scratch = tempfile.TemporaryDirectory()
                self._folder = pathlib.Path(self._scratch.name)
                self._published, self._warned = clock(), False
                if path.exists():
                    (self._folder / path.name).write_bytes(path.read_bytes())
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / path.name
            _keep_until(path, start_step)
            self._file = path.open("a", encoding="utf-8")
            # tensorboardX names files by the second: a quick restart would overwrite one.
            self._tensorboard = SummaryWriter(
                str(self._folder / "tensorboard"),
                purge_step=start_step + 1,
                filename_suffix=f".{start_step}",
            )

    def __enter__(self) -> "Logs":
        return self

    def __exit__(self, raised: type[BaseException] | None, *_) -> None:
        if not self._lead:
            return
        self._end_line()
        self._file.close()
        self._tensorboard.close()
        try:
            self._publish()
        except Exception as error:
            if raised is None:
                raise
            self._warn(error)  # what ended the run says more
        finally:
            if self._folder != self._workdir:
                self._scratch.cleanup()

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
        if self._folder != self._workdir and self._clock() - self._published >= _PUBLISHED_EACH:
            try:
                self.publish()
            except Exception as error:
                if not places.failed(self._workdir, error):
                    raise
                self._warn(error)

    def pictures(self, step: int, name: str, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Adds a picture to TensorBoard."""
        if self._lead:
            self._tensorboard.add_image(name, picture, step, dataformats="HWC")
            self._tensorboard.flush()

    def publish(self) -> None:
        """Brings the files on a bucket up to date; those of a local folder always are."""
        if self._lead:
            self._tensorboard.flush()
            self._publish()

    def _publish(self) -> None:
        if self._folder == self._workdir:
            return
        self._published = self._clock()  # or tried to, which may take long
        for path in sorted(self._folder.rglob("*")):
            if path.is_file():
                places.write(self._workdir / path.relative_to(self._folder), path.read_bytes())
        self._warned = False

    def _warn(self, error: Exception) -> None:
        """Once for all that fails until something is published again."""
        if not self._warned:
            self._end_line()
            told = places.failed(self._workdir, error) or error
            print(f"warning: the log is not published: {told}", file=sys.stderr)
        self._warned = True

    @contextlib.contextmanager
    def compiling(self, what: str) -> Iterator[None]:
        """Says that `what` is compiled, and leaves the time within out of the time left.

        The first time alone: later ones find it compiled.
        """
        since, first = self._clock(), what not in self._compiled
        self._compiled.add(what)
        if first and self._lead:
            self._end_line()
            progress.compiling(what)
        yield
        if first:
            self._since += self._clock() - since

    def due(self) -> bool:
        """Whether it is long since the last line of progress."""
        return self._lead and self._clock() - self._told >= progress.seconds()

    def progress(self, step: int, images_per_second: float, rate: float, loss: float) -> None:
        """Prints step, loss, rate, speed and the time left to standard error.

        On a terminal the line replaces the one before. The time left is told from the second
        step on.
        """
        if not self._lead:
            return
        self._told = self._clock()
        line = (
            f"step {step:>{len(str(self._total))}}/{self._total}  loss {loss:.4f}  "
            f"rate {rate:.2e}  {images_per_second:.1f} images/s"
        )
        if step > self._first:
            each = (self._told - self._since) / (step - self._first)
            line += f"  {_duration(each * max(self._total - step, 0))} left"
        self._open_line = sys.stderr.isatty()
        if self._open_line:
            # To the end of the line: the one before may have been longer.
            print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def _end_line(self) -> None:
        if self._open_line:
            print(file=sys.stderr)
        self._open_line = False


def last_step(workdir: Place) -> int:
    """The largest step of a run's ``metrics.jsonl``; 0 where there is none."""
    path = workdir / "metrics.jsonl"
    return max((step for step, _ in _lines(path)), default=0)


def _lines(path: Place) -> Iterator[tuple[int, bytes]]:
    """Step and text of each whole line; a last one that is torn is left out.

    Raises:
        InputError: a whole line is not one of those that `Logs` writes.
    """
    data = path.read_bytes() if path.exists() else b""
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(keepends=True), 1):
        try:
            yield int(json.loads(line)["step"]), line
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}, line {number}",
                repr(line[:40]),
                "a JSON object with a step",
                "delete the line, or move the file away to begin a new one",
            ) from error


def _keep_until(path: pathlib.Path, step: int) -> None:
    """Cuts a torn last line off, and all lines after `step`."""
    if not path.exists():
        return
    before = path.read_bytes()
    after = b"".join(line for at, line in _lines(path) if at <= step)
    if after != before:
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(after)
        partial.replace(path)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
