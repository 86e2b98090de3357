"""Examples from files: made in threads, checked, and streamed to TFDS split by split."""

import collections
import concurrent.futures
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from faceparse_jax import images, labels
from faceparse_jax.errors import InputError
from tfds_builders import files

Example = dict[str, Any]


def features() -> tfds.features.FeaturesDict:
    """The features of every builder; depth is all zeros where `has_depth` is false."""
    grey = tfds.features.Image(shape=(None, None, 1), dtype=np.uint8, encoding_format="png")
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "depth": grey,
            "label": grey,
            "id": tfds.features.Text(),
            "has_depth": np.bool_,
        }
    )


def _encode_png(values: np.ndarray) -> bytes:
    """The bytes of a one-channel PNG."""
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def _check_shape(name: str, shape: tuple[int, int], like: tuple[int, int], what: str) -> None:
    """Refuses a picture whose sides are not those of the label, up to a common factor."""
    if shape[0] * like[1] != shape[1] * like[0]:
        raise InputError(
            name,
            f"{shape[1]}x{shape[0]} pixels",
            f"the proportions of {what}, {like[1]}x{like[0]}",
            "extract the archive again",
        )


def example(
    archive: files.Archive,
    key: str,
    image: str,
    label: np.ndarray,
    scheme: labels.Scheme,
    depth: tuple[files.Archive, str] | None,
) -> Example:
    """One example as `features` wants it; the image's bytes stay as they are.

    Args:
        archive: where the image is.
        key: the example's id.
        image: name of the image in the archive.
        label: u8 [h w], class ids of the scheme or `labels.IGNORE`.
        scheme: the label's scheme.
        depth: archive and name of the depth map, which is brought to the label's grid.

    Raises:
        InputError: an unreadable file, other proportions than the label's, or a label
            value that the scheme does not have.
    """
    data, shape = files.read_photo(archive, image)
    _check_shape(archive.where(image), shape, label.shape, "its label")
    wrong = np.setdiff1d(label, [*range(scheme.num_classes), labels.IGNORE])
    if wrong.size:
        raise InputError(
            f"the label of {archive.where(image)}",
            f"the value {wrong[0]}",
            f"0 to {scheme.num_classes - 1}, or {labels.IGNORE}",
            "extract the archive again",
        )
    values = np.zeros_like(label)
    if depth is not None:
        read = files.read_depth(*depth)
        _check_shape(depth[0].where(depth[1]), read.shape, label.shape, "the label")
        values = images.resize_depth(read, label.shape)
    return {
        "image": data,
        "depth": _encode_png(values),
        "label": _encode_png(label),
        "id": key,
        "has_depth": bool(values.any()),
    }


def stream(make: Callable[[Any], Any], rows: Sequence[Any]) -> Iterator[Any]:
    """`make` of each row, in order, from as many threads as there are cores.

    At most four rows per thread are made ahead of the caller, so memory does not grow
    with the number of rows.
    """
    workers = os.cpu_count() or 1
    waiting: collections.deque = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            for row in rows:
                waiting.append(pool.submit(make, row))
                if len(waiting) >= 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


class Splits:
    """The examples of all splits; what is wrong with any file of any split is one error.

    Args:
        where: what the error is about.
        rows: what `make` needs for each example, by split.
        make: a row to an example; an `InputError` is a fault of the files.
    """

    def __init__(
        self, where: object, rows: Mapping[str, Sequence[Any]], make: Callable[[Any], Example]
    ):
        self.with_depth = dict.fromkeys(rows, 0)
        self._where, self._rows, self._make = where, dict(rows), make
        self._left = list(rows)
        self._faults: list[InputError] = []

    def generate(self, split: str) -> Iterator[tuple[str, Example]]:
        """Ids and examples of a split.

        Raises:
            InputError: at the end of the first split with a fault, when the files of the
                other splits have been checked too.
        """
        for made in self._made(split):
            self.with_depth[split] += made["has_depth"]
            yield made["id"], made
        if self._faults:
            for other in tuple(self._left):
                collections.deque(self._made(other), maxlen=0)
            files.raise_faults(self._where, self._faults)

    def _made(self, split: str) -> Iterator[Example]:
        def attempt(row: Any) -> Example | InputError:
            try:
                return self._make(row)
            except InputError as error:
                return error

        rows = self._rows[split]
        for made in _progress(split, stream(attempt, rows), len(rows)):
            if isinstance(made, InputError):
                self._faults.append(made)
            else:
                yield made
        self._left.remove(split)


def _progress(split: str, made: Iterator[Any], total: int, seconds: float = 5) -> Iterator[Any]:
    """Passes on what comes, and prints every few seconds how far it is."""
    start = told = time.monotonic()
    for count, item in enumerate(made, 1):
        yield item
        now = time.monotonic()
        if now - told >= seconds or count == total:
            told, rate = now, count / (now - start)
            left = (total - count) / rate
            print(
                f"{split}: {count:,} of {total:,}, {rate:.1f} images/s, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
