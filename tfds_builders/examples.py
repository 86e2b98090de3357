"""Examples from files: made in threads, checked, and streamed to TFDS split by split."""

import collections
import concurrent.futures
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from faceparse_jax import images, labels
from faceparse_jax.errors import InputError, few
from faceparse_jax.runtime import interrupts, machine
from faceparse_jax.runtime.progress import bar
from tfds_builders import files


@dataclasses.dataclass(frozen=True)
class Example:
    """One example and what is odd about it.

    Attributes:
        features: as `features` wants them.
        depth_bits: 8 or 16.
        shape: height and width of the image in pixels.
        classes: class ids that the label has.
        oddities: what does not stop a build and is counted, such as ``inverted depth``.
    """

    features: Mapping[str, Any]
    depth_bits: int = 8
    shape: tuple[int, int] = (0, 0)
    classes: tuple[int, ...] = ()
    oddities: tuple[str, ...] = ()


def features(**more: Any) -> tfds.features.FeaturesDict:
    """The features of every builder; depth is all zeros where `has_depth` is false.

    Depth is stored with the 8 or 16 bits that it came with; TFDS decodes both to 16 bits
    (8-bit values times 257), `data.tfds_reader` to what is in the metadata as `depth_bits`.
    """

    def grey(dtype):
        return tfds.features.Image(shape=(None, None, 1), dtype=dtype, encoding_format="png")

    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "depth": grey(np.uint16),
            "label": grey(np.uint8),
            "id": tfds.features.Text(),
            "has_depth": np.bool_,
        }
        | more
    )


def _check_shape(
    name: str, shape: tuple[int, int], like: tuple[int, int], what: str, again: str
) -> None:
    """Refuses a picture whose sides are not those of the label, up to a factor and rounding."""
    if not images.same_frame(shape, like):
        raise InputError(
            name,
            f"{shape[1]}x{shape[0]} pixels",
            f"the proportions of {what}, {like[1]}x{like[0]}",
            again,
        )


def example(
    archive: files.Archive,
    key: str,
    image: str,
    label: np.ndarray,
    label_name: str,
    scheme: labels.Scheme,
    depth: tuple[files.Archive, str] | None,
    read: Callable[[files.Archive, str], files.Photo] = files.read_photo,
    again: str = "extract the archive again",
) -> Example:
    """One example; the image's bytes are those that `read` gives.

    Args:
        archive: where image and label are.
        key: the example's id.
        image: name of the image in the archive.
        label: u8 [h w], class ids of the scheme or `labels.IGNORE`.
        label_name: a file of the label, for errors.
        scheme: the label's scheme.
        depth: archive and name of the depth map, which is brought to the label's grid.
        read: gives the photograph of an archive by name.
        again: what mends a file, for errors.

    Raises:
        InputError: an unreadable file, other proportions than the label's, a label that
            fits the photograph as EXIF turns it and not as it is stored, or a label
            value that the scheme does not have.
    """
    data, shape, turned = read(archive, image)
    if (
        turned
        and not images.same_frame(shape, label.shape)
        and images.same_frame(shape[::-1], label.shape)
    ):
        raise InputError(
            archive.where(image),
            "an EXIF orientation that turns the photograph onto its label",
            "pixels stored the way the label lies",
            "turn the pixels (exiftran -a, or ImageMagick's -auto-orient) and run again",
        )
    _check_shape(archive.where(image), shape, label.shape, "its label", again)
    there = np.unique(label)
    wrong = there[(there >= scheme.num_classes) & (there != labels.IGNORE)]
    if wrong.size:
        raise InputError(
            archive.where(label_name),
            f"the label value {wrong[0]}",
            f"0 to {scheme.num_classes - 1} of the scheme {scheme.name}, or {labels.IGNORE}",
            f"look whether these are labels of another scheme, or {again}",
        )
    values = np.zeros_like(label)
    if depth is not None:
        read = files.read_depth(*depth)
        _check_shape(depth[0].where(depth[1]), read.shape, label.shape, "the label", again)
        values = images.resize_depth(read, label.shape)
    oddities = ["turned by EXIF"] if turned else []
    if depth is not None:
        oddities += depth_oddities(values, label, scheme)
    made = {
        "image": data,
        "depth": files.encode_png(values),
        "label": files.encode_png(label),
        "id": key,
        "has_depth": bool(values.any()),
    }
    classes = tuple(there.tolist())
    return Example(made, 8 * values.itemsize, shape, classes, tuple(oddities))


def depth_oddities(depth: np.ndarray, label: np.ndarray, scheme: labels.Scheme) -> list[str]:
    """What is odd about a depth map: ``empty``, ``constant`` or ``inverted depth``.

    It is inverted where the nose lies farther than the rest of the head: larger = farther.
    """
    valid = depth > 0
    if not valid.any():
        return ["empty depth"]
    if (depth[valid] == depth[valid][0]).all():
        return ["constant depth"]
    if "nose" not in scheme.classes:
        return []
    nose = valid & (label == scheme.classes.index("nose"))
    rest = valid & ~nose
    if nose.any() and rest.any() and np.median(depth[nose]) > np.median(depth[rest]):
        return ["inverted depth"]
    return []


def told_oddities(oddities: Mapping[str, Sequence[str]], examples: int) -> list[str]:
    """How many of so many examples are odd in what way, with the first of their ids."""
    return [
        f"{len(ids):,} of {examples:,} examples: {what} ({few(ids)})"
        for what, ids in oddities.items()
    ]


def unseen(seen: Collection[int], classes: Sequence[str]) -> str:
    """That a split has no example of some classes; empty where it has all."""
    names = [name for value, name in enumerate(classes) if value not in seen]
    return f"no example has {', '.join(names)}" if names else ""


def attempts(
    split: str, rows: Sequence[Any], make: Callable[[Any], Example]
) -> Iterator[tuple[Any, Example | InputError]]:
    """Each row with its example, or with what is wrong with its files; with a progress bar."""

    def attempt(row: Any) -> tuple[Any, Example | InputError]:
        try:
            return row, make(row)
        except InputError as error:
            return row, error

    return progress(split, stream(attempt, rows), len(rows))


def stream(make: Callable[[Any], Any], rows: Sequence[Any]) -> Iterator[Any]:
    """`make` of each row, in order, from as many threads as there are cores.

    At most four rows per thread are made ahead of the caller, so memory does not grow
    with the number of rows.
    """
    workers = machine.cores()
    waiting: collections.deque = collections.deque()
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        for row in rows:
            waiting.append(pool.submit(make, row))
            if len(waiting) >= 4 * workers:
                yield _awaited(waiting.popleft())
        while waiting:
            yield _awaited(waiting.popleft())
    finally:
        # A row that is being made may take long, and nobody waits for it any more.
        pool.shutdown(wait=False, cancel_futures=True)


def _awaited(future: concurrent.futures.Future) -> Any:
    """The result of a future; a signal stops the wait."""
    while not future.done():
        interrupts.check()
        concurrent.futures.wait([future], timeout=0.1)
    return future.result()


class Splits:
    """The examples of all splits; what is wrong with any file of any split is one error.

    Args:
        where: what the error is about.
        rows: what `make` needs for each example, by split.
        make: a row to an example; an `InputError` is a fault of the files.
        metadata: the dataset's; `with_depth` (by split) and `depth_bits` are kept in it.
    """

    def __init__(
        self,
        where: object,
        rows: Mapping[str, Sequence[Any]],
        make: Callable[[Any], Example],
        metadata: MutableMapping[str, Any],
    ):
        metadata |= {"with_depth": dict.fromkeys(rows, 0), "depth_bits": 8}
        self._metadata = metadata
        self._where, self._rows, self._make = where, dict(rows), make
        self._left = list(rows)
        self._faults: list[InputError] = []

    def generate(self, split: str) -> Iterator[tuple[str, Example]]:
        """Ids and examples of a split.

        Raises:
            InputError: at the end of the first split with a fault, when the files of the
                other splits have been checked too.
        """
        oddities: dict[str, list[str]] = {}
        seen: set[int] = set()
        for made in self._made(split):
            self._metadata["with_depth"][split] += made.features["has_depth"]
            self._metadata["depth_bits"] = max(self._metadata["depth_bits"], made.depth_bits)
            for what in made.oddities:
                oddities.setdefault(what, []).append(made.features["id"])
            seen.update(made.classes)
            yield made.features["id"], made.features
        for text in told_oddities(oddities, len(self._rows[split])):
            files.note(f"{split}: {text}")
        if missing := unseen(seen, self._metadata.get("classes", ())):
            files.note(f"{split}: {missing}")
        if self._faults:
            for other in tuple(self._left):
                collections.deque(self._made(other), maxlen=0)
            files.raise_faults(self._where, self._faults)

    def _made(self, split: str) -> Iterator[Example]:
        wrong = []
        for _, made in attempts(split, self._rows[split], self._make):
            if isinstance(made, InputError):
                wrong.append(made)
            else:
                yield made
        self._faults += files.gathered(wrong, len(self._rows[split]))
        self._left.remove(split)


def progress(split: str, made: Iterator[Any], total: int) -> Iterator[Any]:
    """Passes on what comes, with a progress bar; a signal stops it between two items."""
    return interrupts.stoppable(bar(made, split, total, "images"))
