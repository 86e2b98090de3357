"""A video, frame by frame: its pictures, and the three files that are written of it."""

import contextlib
import csv
import dataclasses
import fractions
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import UInt8

from faceparse_jax.errors import InputError, not_installed
from faceparse_jax.images.read import check_pixels
from faceparse_jax.labels import Scheme
from faceparse_jax.runtime import interrupts

KINDS = ("labels.mkv", "overlay.mp4", "areas.csv")


class Unwritable(InputError):
    """The files of a video cannot be written."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """A picture of a video.

    Attributes:
        image: upright, as the file asks for it to be shown.
        ticks: when it is shown, in the video's units of time after its first frame.
    """

    image: UInt8[np.ndarray, "h w 3"]
    ticks: int


class Video:
    """An open video; `opened` gives one.

    Attributes:
        frames: how many the file says that it has; None where it does not.
        seconds: how long the file says that it lasts; None where it does not.
        unit: of time, in seconds.
        rate: frames a second, on average.
        aspect: width by height of a pixel, as the frames come; None where the file does not tell.
    """

    def __init__(self, path: pathlib.Path, container: Any):
        self._path, self._container = path, container
        (self._stream, *_) = container.streams.video
        self._stream.thread_type = "AUTO"
        self.frames = self._stream.frames or None
        self.seconds = container.duration and container.duration / 1e6
        self.unit: fractions.Fraction = self._stream.time_base
        self.rate: fractions.Fraction = self._stream.average_rate or fractions.Fraction(25)
        self.aspect: fractions.Fraction | None = self._stream.sample_aspect_ratio

    def __iter__(self) -> Iterator[Frame]:
        """The frames, once.

        Raises:
            InputError: a damaged file, frames of several sizes, or larger ones than
                `images.read.MAX_PIXELS`.
        """
        av = _av(self._path)
        number, first, last, shape = 0, 0, -1, None
        try:
            for frame in self._container.decode(self._stream):
                check_pixels(frame.height, frame.width, str(self._path))
                turns = round(frame.rotation / 90)
                image = np.rot90(frame.to_ndarray(format="rgb24"), turns)
                if shape not in (None, image.shape):
                    raise InputError(
                        str(self._path),
                        f"a frame of {image.shape[1]}x{image.shape[0]} pixels after others of "
                        f"{shape[1]}x{shape[0]}",
                        "frames of one size",
                        "cut the video where its size changes",
                    )
                shape = image.shape
                ticks = frame.pts
                if ticks is None:  # raw streams do not tell
                    ticks = round(number / self.rate / self.unit)
                if not number:
                    first = ticks
                    if turns % 2 and self.aspect:
                        self.aspect = 1 / self.aspect
                # Damaged files may go back in time, which no file can be written with.
                last = max(ticks - first, last + 1)
                yield Frame(np.ascontiguousarray(image), last)
                number += 1
        except av.FFmpegError as error:
            raise _damaged(self._path, f"damage after {number} frames", error) from error
        if not number:
            raise _damaged(self._path, "no frame that can be decoded")

    def doubts(self, frames: int, ticks: int) -> list[str]:
        """What is doubtful where so many frames were read, of which the last has these ticks.

        FFmpeg takes many a cut or damaged file for one that ends there.
        """
        ends = float(ticks * self.unit + 1 / self.rate)
        if frames >= 0.95 * (self.frames or 0) and ends >= 0.95 * (self.seconds or 0):
            return []
        return [
            f"its frames end after {ends:.1f} s, before the end that the file tells of, so that "
            "it may be cut or damaged"
        ]


def check_reader(name: str) -> None:
    """Raises InputError where nothing reads videos; `name` is what it calls the video."""
    _av(pathlib.Path(name))


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[Video]:
    """A video to read from.

    Raises:
        InputError: no video, a damaged one, one without pictures, or nothing that reads videos.
    """
    av = _av(path)
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise _damaged(path, "a truncated, damaged or foreign file", error) from error
    with container:
        if not container.streams.video:
            raise _damaged(path, "a file without pictures")
        yield Video(path, container)


def first_image(path: pathlib.Path) -> UInt8[np.ndarray, "h w 3"]:
    """The first frame of a video; raises as `opened` and `Video` do."""
    with opened(path) as video:
        return next(iter(video)).image


class Writer:
    """Writes three files beside each other, of which none is there before all are whole.

    ``{stem}_labels.mkv`` has class ids as grey values, without loss (FFV1), ``{stem}_overlay.mp4``
    the classes' colours over the frames (H.264), and ``{stem}_areas.csv`` a line for each frame:
    its number from 0 on, seconds after the first frame, and the share that each class has of it.
    """

    def __init__(self, base: pathlib.Path, video: Video, scheme: Scheme):
        self._paths = [base.with_name(f"{base.name}_{kind}") for kind in KINDS]
        self._video, self._scheme = video, scheme
        self._partial = [path.with_name(path.name + ".partial") for path in self._paths]
        self._av = _av(base)
        self._streams: list[tuple[Any, Any]] = []
        self.pixels = np.zeros(scheme.num_classes, np.int64)
        self.frames, self.shape = 0, (0, 0)

    def __enter__(self) -> "Writer":
        with self._told():
            self._table = self._partial[2].open("w", newline="")
        self._lines = csv.writer(self._table)
        self._lines.writerow(["frame", "seconds", *self._scheme.classes])
        return self

    def __exit__(self, *_) -> None:
        """Closes the files, and removes what is not whole."""
        self._table.close()
        for container, _ in self._streams:
            with contextlib.suppress(self._av.FFmpegError, OSError):
                container.close()
        for path in self._partial:
            path.unlink(missing_ok=True)

    def add(
        self, ticks: int, label: UInt8[np.ndarray, "h w"], shown: UInt8[np.ndarray, "h w 3"]
    ) -> None:
        """Writes one frame.

        Args:
            shown: the overlay.

        Raises:
            Unwritable: a full disk, for example.
        """
        with self._told():
            if not self._streams:
                self.shape = label.shape
                self._begin(*label.shape)
            # H.264 has colours for each two pixels, so that sides are even.
            odd = [(0, side % 2) for side in label.shape]
            shown = np.pad(shown, (*odd, (0, 0)), mode="edge")
            for (container, stream), picture, form in zip(
                self._streams, (label, shown), ("gray", "rgb24"), strict=True
            ):
                frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=form)
                frame.pts, frame.time_base = ticks, self._video.unit
                container.mux(stream.encode(frame))
            counts = np.bincount(label.ravel(), minlength=self._scheme.num_classes)
            seconds = float(ticks * self._video.unit)
            shares = [f"{share:.6f}" for share in counts / label.size]
            self._lines.writerow([self.frames, f"{seconds:.6f}", *shares])
            self.pixels += counts
            self.frames += 1

    def finish(self) -> list[pathlib.Path]:
        """Ends the files and gives them their names.

        Raises:
            Unwritable: a full disk, for example.
        """
        with interrupts.held(), self._told():
            for container, stream in self._streams:
                container.mux(stream.encode())
                container.close()
            self._streams = []
            self._table.close()
            for partial, path in zip(self._partial, self._paths, strict=True):
                partial.replace(path)
        return self._paths

    def _begin(self, height: int, width: int) -> None:
        sizes = ((height, width), (height + height % 2, width + width % 2))
        ways = (
            ("matroska", "ffv1", "gray", {}),
            ("mp4", "libx264", "yuv420p", {"crf": "18", "preset": "veryfast"}),
        )
        for path, (rows, columns), (container, codec, form, options) in zip(
            self._partial[:2], sizes, ways, strict=True
        ):
            file = self._av.open(str(path), "w", format=container)
            stream = file.add_stream(codec, rate=self._video.rate, options=options)
            self._streams.append((file, stream))
            stream.width, stream.height, stream.pix_fmt = columns, rows, form
            stream.codec_context.time_base = self._video.unit
            if self._video.aspect:
                stream.codec_context.sample_aspect_ratio = self._video.aspect

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (self._av.FFmpegError, OSError) as error:
            raise Unwritable(
                str(self._paths[0].parent),
                getattr(error, "strerror", None) or str(error),
                "a folder in which videos can be written",
                "choose another --out",
            ) from error


def _av(path: pathlib.Path) -> Any:
    """PyAV. It is silent as it comes, and stays so: a thread of FFmpeg that passed a message on to
    Python would wait for the thread that waits for it."""
    try:
        import av
    except ImportError as error:
        raise not_installed(str(path), error.name, "video") from error
    return av


def _damaged(path: pathlib.Path, found: str, error: Exception | None = None) -> InputError:
    why = f" ({getattr(error, 'strerror', None) or error})" if error else ""
    return InputError(
        str(path),
        found + why,
        "a video that can be decoded to its end",
        "fetch or export it again, or convert it to MP4",
    )
