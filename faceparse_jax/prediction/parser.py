"""From a photo, a depth map or both to a label map, with the networks of one checkpoint.

Inputs of any size are fitted into the networks' square without changing their aspect
ratio; probabilities are brought back to the input's size before the class is chosen.
"""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float16, Float32, UInt8, UInt16

from faceparse_jax.checkpoints.trained import load_trained
from faceparse_jax.errors import InputError
from faceparse_jax.images import check_depth_range, resize_depth, resize_image
from faceparse_jax.images.normalise import OUTSIDE
from faceparse_jax.images.resize import decide, in_square, inside
from faceparse_jax.labels import Scheme
from faceparse_jax.models.inference import Variables, predict
from faceparse_jax.models.routes import ROUTES, preferred, routes
from faceparse_jax.models.system import System

Photo = UInt8[np.ndarray, "_ _ 3"]
DepthMap = UInt8[np.ndarray, "_ _"] | UInt16[np.ndarray, "_ _"]
Pair = tuple[np.ndarray | None, np.ndarray | None]

OUTPUTS = tuple(preferred(ROUTES))
"""Routes to a label map; the answer is the first one that input and networks allow."""


@dataclasses.dataclass(frozen=True)
class Result:
    """The parsing of one input, at the input's size.

    Attributes:
        label: class ids of the parser's scheme.
        confidence: probability of the chosen class.
        depth: the translated depth that the answer rests on (0 = none, larger =
            farther); None where it rests on none.
        source: what the answer rests on: ``rgb``, ``depth``, ``rgb+depth``,
            ``rgb+translated depth`` or ``translated depth``.
        probabilities: of every class, where they were asked for.
    """

    label: UInt8[np.ndarray, "h w"]
    confidence: Float32[np.ndarray, "h w"]
    depth: UInt8[np.ndarray, "h w"] | None
    source: str
    probabilities: Float16[np.ndarray, "h w k"] | None = None


class Parser:
    """Networks ready to parse; `load` makes one from a trained run.

    Args:
        system, variables, scheme: as in `trained.Trained`.
        size: side of the networks' square input in pixels.
        record: what results say of the networks' origin.
        batch: inputs parsed at once. Batches have 1, 2, 4... up to this many rows, so
            that few programs are compiled.
    """

    def __init__(
        self,
        system: System,
        variables: Variables,
        scheme: Scheme,
        size: int,
        record: Mapping[str, Any] | None = None,
        batch: int = 8,
    ):
        self.scheme = scheme
        self.record = dict(record or {})
        self._system, self._variables = system, variables
        self._size, self._batch = size, batch

        # What is not among `keys` is dropped before compiling, with its networks.
        @functools.partial(jax.jit, static_argnames="keys")
        def run(variables, batch, keys):
            out = predict(variables, batch, system=system)
            return {key: out[key] for key in keys}

        self._run = run

    def __call__(
        self,
        image: Photo | Sequence[Photo | None] | None = None,
        depth: DepthMap | Sequence[DepthMap | None] | None = None,
        output: str | None = None,
        probabilities: bool = False,
    ) -> Result | list[Result]:
        """Parses one input, or a list of them.

        Args:
            image: sRGB photographs of any size.
            depth: depth maps (0 = none, larger = farther) of any size but their image's
                aspect ratio. In lists, None stands for an image or a depth map that is
                not there; a map without any depth counts as not there.
            output: one of `OUTPUTS`, in place of the best that the input allows.
            probabilities: whether results carry those of every class.

        Returns:
            A result, or a list of them where lists were given.

        Raises:
            InputError: arrays of another form, or an output that the networks or the
                inputs do not allow.
        """
        given = depth if image is None else image
        if not isinstance(given, list | tuple):
            (result,) = self.stream([(image, depth)], output, probabilities)
            return result
        nothing = [None] * len(given)
        images = nothing if image is None else image
        depths = nothing if depth is None else depth
        lists = isinstance(images, list | tuple) and isinstance(depths, list | tuple)
        if not lists or len(images) != len(depths):
            found = f"{len(images)} images, {len(depths)} depth maps" if lists else "one alone"
            raise InputError(
                "lists of images and depth maps",
                found,
                "two lists of one length",
                "put None where an image or a depth map is not there",
            )
        return list(self.stream(zip(images, depths, strict=True), output, probabilities))

    def stream(
        self, pairs: Iterable[Pair], output: str | None = None, probabilities: bool = False
    ) -> Iterator[Result]:
        """Parses pairs of image and depth as `__call__` does, one batch in memory at a time."""
        for _, alike in itertools.groupby(pairs, lambda pair: pair[0] is None):
            while items := list(itertools.islice(alike, self._batch)):
                yield from self._parse(items, output, probabilities)

    def route(self, image: bool, depth: bool, output: str | None = None) -> str:
        """The route of an input that has these parts: `output`, or the best one.

        Raises:
            InputError: the networks have no such route for such an input.
        """
        networks = self._system.networks()
        given = {"image": image, "depth map": depth}
        allowed = preferred(routes(networks, [name for name, there in given.items() if there]))
        if not allowed or output not in (None, *allowed):
            parts = [name for name, there in (("image", image), ("depth", depth)) if there]
            raise InputError(
                "input",
                " and ".join(parts) or "neither image nor depth",
                f"what output {output or 'of any kind'} of these networks "
                f"({', '.join(networks)}) needs",
                f"ask for {' or '.join(allowed)}" if allowed else "give the other input",
            )
        return output or allowed[0]

    def _parse(self, pairs, output, probabilities) -> Iterator[Result]:
        pairs = [check_pair(image, depth) for image, depth in pairs]
        routes = [self.route(i is not None, d is not None, output) for i, d in pairs]
        sources = [_source(r, d is not None) for r, (_, d) in zip(routes, pairs, strict=True)]
        keys = set(routes)
        if any("translated" in source for source in sources):
            keys.add("translated")
        out = self._run(self._variables, self._arrays(pairs), keys=tuple(sorted(keys)))
        out = jax.device_get(out)
        for row, (pair, route, source) in enumerate(zip(pairs, routes, sources, strict=True)):
            shape = _shape(pair)
            part = (row, *inside(shape, self._size))
            label, confidence, planes = decide(out[route][part], shape, probabilities)
            depth = None
            if "translated" in source:
                depth = resize_depth(out["translated"][part][..., 0], shape)
            yield Result(label, confidence, depth, source, planes)

    def _arrays(self, pairs: Sequence[Pair]) -> dict[str, np.ndarray]:
        """The batch that `models.inference.predict` takes, filled up with empty rows.

        Depth has 16 bits as soon as one of the maps has.
        """
        size, rows = self._size, min(self._batch, 1 << (len(pairs) - 1).bit_length())
        arrays = {}
        if pairs[0][0] is not None:
            arrays["image"] = np.full((rows, size, size, 3), OUTSIDE)
        depths = [depth for _, depth in pairs if depth is not None]
        if depths:
            kind = np.result_type(*depths)
            arrays["depth"] = np.zeros((rows, size, size, 1), kind)
            arrays["has_depth"] = np.zeros(rows, bool)
        for row, (image, depth) in enumerate(pairs):
            if image is not None:
                arrays["image"][row] = in_square(image, size, resize_image, OUTSIDE)
            if depth is not None:
                square = in_square(depth, size, resize_depth, 0, _shape((image, depth)))
                scale = np.iinfo(kind).max // np.iinfo(depth.dtype).max
                arrays["depth"][row, ..., 0] = square.astype(kind) * scale
                arrays["has_depth"][row] = True
        return arrays


def load(workdir: pathlib.Path | str, checkpoint: str = "best", batch: int = 8) -> Parser:
    """The parser of a trained run.

    Args:
        workdir: the run's folder.
        checkpoint: ``best`` or ``last``.
        batch: inputs parsed at once, at most.

    Raises:
        InputError: no such checkpoint.
    """
    run = load_trained(workdir, checkpoint)
    record = {
        "workdir": str(workdir),
        "checkpoint": checkpoint,
        "step": run.meta["step"],
        "trained_on": run.meta["dataset"],
        "trained_with": run.meta["code_version"],
    }
    return Parser(run.system, run.variables, run.scheme, run.config.data.size, record, batch)


def check_pair(image: Any, depth: Any, names: tuple[str, str] = ("image", "depth")) -> Pair:
    """Image (u8) and depth (u8 or u16), or None: an input that the networks can take.

    Args:
        names: what errors call the two.

    Raises:
        InputError: other types or shapes, depth of another aspect ratio than its image,
            or nothing to parse.
    """
    if image is not None:
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise InputError(
                names[0],
                f"{image.dtype} of shape {image.shape}",
                "uint8 of shape (height, width, 3), sRGB in 0..255",
                "read it with faceparse_jax.images.read_image",
            )
    if depth is None:
        return image, None
    depth = np.asarray(depth)
    if depth.dtype not in (np.uint8, np.uint16) or depth.ndim != 2 or not depth.size:
        raise InputError(
            names[1],
            f"{depth.dtype} of shape {depth.shape}",
            "uint8 or uint16 of shape (height, width), 0 = none, larger = farther",
            "read it with faceparse_jax.images.read_depth",
        )
    check_depth_range(depth, names[1])
    if image is not None:
        (h, w), (height, width) = image.shape[:2], depth.shape
        # Up to a pixel of the coarser grid the frames are the same.
        if abs(h * width - w * height) > max(h, w, height, width):
            raise InputError(
                names[1],
                f"{width}x{height} pixels beside an image of {w}x{h}",
                "the aspect ratio of the image",
                "crop both to the same frame",
            )
    if not depth.any():
        if image is None:
            raise InputError(
                names[1], "0 (no depth) in every pixel", "depth of a head", "give an image, too"
            )
        return image, None
    return image, depth


def _source(route: str, has_depth: bool) -> str:
    if route == "fusion":
        return "rgb+depth" if has_depth else "rgb+translated depth"
    return "translated depth" if route == "depth_translated" else route


def _shape(pair: Pair) -> tuple[int, int]:
    image, depth = pair
    return (depth if image is None else image).shape[:2]
