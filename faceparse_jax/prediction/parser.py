"""From a photo, a depth map or both to a label map, with the networks of one training.

Faces are looked for in a photograph, and each is parsed in a square of its own. Other inputs are
fitted into the networks' square as a whole, without changing their aspect ratio. Probabilities
are brought back to the input's size before the class is chosen.
"""

import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float16, Float32, UInt8

from faceparse_jax.checkpoints import packed
from faceparse_jax.checkpoints.trained import Trained, load_trained
from faceparse_jax.errors import InputError
from faceparse_jax.images.depth import LEVELS, Levels
from faceparse_jax.images.draw import overlay
from faceparse_jax.images.normalise import OUTSIDE
from faceparse_jax.images.resize import decide
from faceparse_jax.labels import SCHEMES, Scheme, conversion
from faceparse_jax.models.inference import (
    Variables,
    disagreement,
    of_depth_parser,
    predict,
    predict_both_ways,
)
from faceparse_jax.models.routes import ROUTES, preferred, routes
from faceparse_jax.models.system import System
from faceparse_jax.prediction import items, sources
from faceparse_jax.prediction.crop import Crop, checked, face_in, region_of
from faceparse_jax.prediction.faces import Face, find_faces, of_face, to_parts
from faceparse_jax.prediction.items import Item
from faceparse_jax.prediction.layers import Layers, Part, View, Whole

OUTPUTS = tuple(preferred(ROUTES))
"""Routes to a label map; the answer is the first one that input and networks allow."""


@dataclasses.dataclass(frozen=True)
class Result:
    """The parsing of one input, at the input's size.

    Attributes:
        label: class ids of `scheme`.
        confidence: probability of the chosen class.
        depth: the translated depth that the answer rests on (0 = none, larger =
            farther); None where it rests on none.
        source: what the answer rests on: ``rgb``, ``depth``, ``rgb+depth``,
            ``rgb+translated depth`` or ``translated depth``.
        scheme: what the class ids mean: names, sides and colours.
        item: what was parsed, as the networks were given it but for its size.
        depth_kind: the kind that the depth map was taken for (`prediction.kinds.KINDS`); None
            where there was none.
        warnings: what is doubtful about the input, in sentences.
        probabilities: of every class, where they were asked for.
        faces: those that were parsed in squares of their own, the likeliest first; none where the
            input was parsed as a whole.
        face_map: number of the face that a pixel belongs to, from 1 on; 0 in the background. None
            where `faces` is empty.
        uncertainty: how far the two parsers disagree, where that was asked for: the
            Jensen-Shannon divergence of their probabilities in bits, from 0, where both say the
            same, to 1, where they have no class in common. The depth parser speaks on the depth
            map where there is one, else on translated depth. None where only one parser can
            answer. `output` does not change it, and the classes are those of the networks.
    """

    label: UInt8[np.ndarray, "h w"]
    confidence: Float32[np.ndarray, "h w"]
    depth: UInt8[np.ndarray, "h w"] | None
    source: str
    scheme: Scheme
    item: Item = dataclasses.field(repr=False)
    depth_kind: str | None = None
    warnings: tuple[str, ...] = ()
    probabilities: Float16[np.ndarray, "h w k"] | None = None
    uncertainty: Float32[np.ndarray, "h w"] | None = None
    faces: tuple[Face, ...] = ()
    face_map: UInt8[np.ndarray, "h w"] | None = None

    def overlay(self) -> UInt8[np.ndarray, "h w 3"]:
        """The classes' colours over the photograph, or over the depth map where there is none."""
        return overlay(self.item.picture, self.label, self.scheme)


@dataclasses.dataclass(frozen=True)
class Seen:
    """An item, and what the networks are to see of it; `Parser.seen` makes one."""

    item: Item
    of: Whole | Layers


class Parser:
    """Networks ready to parse; `load` makes one. Threads may share it.

    Args:
        system, variables, scheme: as in `trained.Trained`.
        size: side of the networks' square input in pixels.
        levels: of the depth that the networks were trained on.
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
        levels: Levels = LEVELS,
    ):
        self.scheme = scheme
        self.record = dict(record or {})
        self._system, self._variables = system, variables
        self.batch = batch
        self._size, self._levels = size, levels

        # What is not among `keys` is dropped before compiling, with its networks.
        @functools.partial(jax.jit, static_argnames=("keys", "tta"))
        def run(variables, batch, keys, tta=False):
            if tta:
                out = predict_both_ways(variables, batch, system=system, mirror=scheme.mirror)
            else:
                out = predict(variables, batch, system=system)
            if "uncertainty" in keys:
                out["uncertainty"] = disagreement(out["rgb"], of_depth_parser(out, batch))
            return {key: out[key] for key in keys}

        self._run = run
        self._parts = to_parts(scheme) if system.rgb else None
        self._close_only = of_face(self._parts, scheme.num_classes)

    def __call__(
        self,
        image: Any = None,
        depth: Any = None,
        output: str | None = None,
        probabilities: bool = False,
        depth_kind: str = "benchmark",
        depth_missing: int | float | None = None,
        uncertainty: bool = False,
        crop: Any = "auto",
        tta: bool = False,
        scheme: str | None = None,
    ) -> Result | list[Result]:
        """Parses one input, a list of them, or a batch.

        Args:
            image: an sRGB photograph of any size: a path, the bytes of a file, a picture of
                Pillow, or an array [h w], [h w 1], [h w 3] or [h w 4] of uint8 or of floats from
                0 to 1. Files and pictures are turned as their EXIF orientation says, and
                transparent pixels lie over `images.read.BEHIND`. A list may mix them; a batch is
                an array [n h w c].
            depth: a depth map of any size but its image's aspect ratio: a path, the bytes of a
                file, a picture of Pillow, or an array [h w] or [h w 1]; a list, or a batch
                [n h w 1]. In lists, None stands for an image or a depth map that is not there; a
                map without any depth counts as not there.
            output: one of `OUTPUTS`, in place of the best that the input allows.
            probabilities: whether results carry those of every class.
            depth_kind: one of `prediction.kinds.KINDS`. ``benchmark`` is uint8 or uint16, 0 = none,
                larger = farther; the other kinds are numbers of any type.
            depth_missing: a value of the depth maps, besides 0, that stands for no depth.
            uncertainty: whether results carry the disagreement of the two parsers.
            crop: ``auto`` looks for faces, where there is a photograph, the networks have a parser
                for it, and its classes have the parts of a face. ``none`` parses the whole input.
                Four numbers, x0, y0, x1 and y1 in pixels, are the box round one face.
            tta: whether probabilities are averaged with those of the mirror image, which takes
                the networks twice the time. Faces are looked for without it.
            scheme: name of the scheme whose classes results have, one that those of the networks
                merge into (see `labels.conversion`); None for the networks' own.

        Returns:
            A result, or a list of them where lists or batches were given.

        Raises:
            InputError: files that cannot be read, arrays of another form, depth that cannot be of
                its kind, or an output or a scheme that the networks or the inputs do not allow.
        """
        kind = {"depth_kind": depth_kind, "depth_missing": depth_missing}
        asked = {"output": output, "probabilities": probabilities, "uncertainty": uncertainty}
        asked |= {"crop": crop, "tta": tta, "scheme": scheme}
        images, depths = sources.several(image), sources.several(depth)
        if images is depths is None:
            (result,) = self.stream([self.item(image, depth, **kind)], **asked)
            return result
        if image is None:
            images = [None] * len(depths)
        if depth is None:
            depths = [None] * len(images)
        counts = [1 if of is None else len(of) for of in (images, depths)]
        if images is None or depths is None or counts[0] != counts[1]:
            raise InputError(
                "images and depth maps",
                f"{counts[0]} and {counts[1]} of them",
                "two lists of one length, or two arrays (n, height, width, channels)",
                "put None where an image or a depth map is not there",
            )
        inputs = (
            self.item(*pair, names=(f"image[{row}]", f"depth[{row}]"), **kind)
            for row, pair in enumerate(zip(images, depths, strict=True))
        )
        return list(self.stream(inputs, **asked))

    def item(self, image: Any, depth: Any, **how: Any) -> Item:
        """One input for `stream`; see `items.item`, whose levels are those of the networks."""
        return items.item(image, depth, levels=self._levels, **how)

    def stream(
        self,
        inputs: Iterable[Item],
        output: str | None = None,
        probabilities: bool = False,
        uncertainty: bool = False,
        crop: Any = "auto",
        tta: bool = False,
        scheme: str | None = None,
    ) -> Iterator[Result]:
        """Parses items as `__call__` does, one batch in memory at a time."""
        seen = (self.seen(item, crop) for item in inputs)
        for finish in self.answers(seen, output, probabilities, uncertainty, tta, scheme):
            yield finish()

    def seen(self, item: Item, crop: Any = "auto") -> Seen:
        """What `answers` takes: an item, in which faces were looked for if need be.

        Raises:
            InputError: a crop that is none, or a box that lies outside of the item.
        """
        return Seen(item, self._layers(item, checked(crop)))

    def answers(
        self,
        inputs: Iterable[Seen],
        output: str | None = None,
        probabilities: bool = False,
        uncertainty: bool = False,
        tta: bool = False,
        scheme: str | None = None,
    ) -> Iterator[Callable[[], Result]]:
        """The slow half of `stream`, batch by batch: the networks have answered.

        Returns:
            For each input what makes a result of the answer on the host, in any thread.
        """
        target = self.target(scheme)
        for _, alike in itertools.groupby(inputs, lambda seen: seen.item.image is None):
            while batch := list(itertools.islice(alike, self.batch)):
                yield from self._parse(batch, output, probabilities, uncertainty, tta, target)

    def target(self, name: str | None) -> Scheme:
        """The scheme of results: the one of this name, or the networks' own where None.

        Raises:
            InputError: there is none of this name, or the networks' classes do not merge into it.
        """
        if name in (None, self.scheme.name):
            return self.scheme
        reached = [one for one in SCHEMES if conversion.exists(self.scheme, SCHEMES[one])]
        if name not in reached:
            raise InputError(
                "scheme",
                f"{name!r}, which the networks' classes ({self.scheme.name}) do not merge into",
                f"one of {', '.join(reached)}" if reached else "none, for these networks",
                "leave it out to keep the networks' classes",
            )
        return SCHEMES[name]

    def route(self, image: bool, depth: bool, output: str | None = None) -> str:
        """The route of an input that has these parts: `output`, or the best one.

        Raises:
            InputError: the networks have no such route for such an input.
        """
        networks = self._system.networks()
        allowed = self._allowed(image, depth)
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

    def _allowed(self, image: bool, depth: bool) -> list[str]:
        given = {"image": image, "depth map": depth}
        there = [name for name, has in given.items() if has]
        return preferred(routes(self._system.networks(), there))

    def both_answer(self, image: bool, depth: bool) -> bool:
        """Whether two parsers answer for an input that has these parts."""
        return "fusion" in self._allowed(image, depth)

    def _parse(
        self, seen, output, probabilities, uncertainty, tta, target
    ) -> Iterator[Callable[[], Result]]:
        batch, layers = [one.item for one in seen], [one.of for one in seen]
        routes = [self.route(i.image is not None, i.depth is not None, output) for i in batch]
        sources = [_source(r, i.depth is not None) for r, i in zip(routes, batch, strict=True)]
        keys = set(routes)
        if any("translated" in source for source in sources):
            keys.add("translated")
        # The RGB parser's face tells more of a depth map than the map itself does.
        if self._system.rgb and any(item.image is not None and item.depth_kind for item in batch):
            keys.add("rgb")
        both = [
            uncertainty and self.both_answer(i.image is not None, i.depth is not None)
            for i in batch
        ]
        if any(both):
            keys.add("uncertainty")
        rows = [(item, view) for item, of in zip(batch, layers, strict=True) for view in of.views()]
        answers = self._answers(rows, keys, tta)
        for item, of, route, source, apart in zip(
            batch, layers, routes, sources, both, strict=True
        ):
            own = [next(answers) for _ in of.views()]
            out = {key: np.stack([one[key] for one in own]) for key in own[0]}
            yield functools.partial(
                self._result, item, of, out, route, source, probabilities, apart, target
            )

    def _result(self, item, of, out, route, source, probabilities, apart, target) -> Result:
        """From what the networks say of an item's views."""
        classes = target.num_classes
        table = np.array(conversion.class_table(self.scheme, target))
        planes = of.probabilities(out[route], [np.flatnonzero(table == c) for c in range(classes)])
        label, confidence, kept = decide(planes, item.shape, classes if probabilities else 0)
        warnings = item.warnings + of.warnings
        if "rgb" in out and item.depth_kind and route != "rgb":
            doubts = [
                doubt
                for view in range(0, len(out["rgb"]), 2)  # every other one is from farther away
                for doubt in items.doubts_by_face(
                    of.seen(np.argmax(out["rgb"][view], axis=-1)),
                    of.seen(out["depth map"][view]),
                    self.scheme,
                    item.depth_kind,
                )
            ]
            warnings += tuple(dict.fromkeys(doubts))
        return Result(
            label,
            confidence,
            of.translated(out["translated"][..., 0]) if "translated" in source else None,
            source,
            target,
            item,
            item.depth_kind,
            warnings,
            kept,
            of.plane(out["uncertainty"]) if apart else None,
            of.faces,
            np.where(label > 0, of.owner, 0).astype(np.uint8) if of.faces else None,
        )

    def _layers(self, item: Item, crop: Crop) -> Whole | Layers:
        """What the networks are to see of an item.

        Raises:
            InputError: a box that lies outside of the item.
        """
        if not isinstance(crop, str):
            region = region_of(crop, item.shape)
            return Part(face_in(crop), item.shape, region, self.scheme.num_classes)
        if crop == "none" or item.image is None or self._parts is None:
            return Whole(item.shape, self._size)
        faces = self.find(item.image)
        if faces:
            return Layers(faces, item.shape, self._close_only)
        return Whole(item.shape, self._size, sought=faces is not None)

    def find(self, photo: UInt8[np.ndarray, "h w 3"]) -> list[Face] | None:
        """The faces of a photograph; see `faces.find_faces`."""
        return find_faces(self._look, photo, self._size, self._parts)

    def _look(
        self, squares: Sequence[UInt8[np.ndarray, "s s 3"]]
    ) -> Float32[np.ndarray, "n s s k"]:
        """What the RGB parser says of squares.

        They are parsed one at a time or in full batches, so that there are two programs.
        """
        answers, first = [], 0
        while first < len(squares):
            chunk = squares[first : first + self.batch]
            if len(chunk) < self.batch / 2:
                chunk = chunk[:1]
            rows = 1 if len(chunk) == 1 else self.batch
            images = np.zeros((rows, self._size, self._size, 3), np.uint8)
            images[: len(chunk)] = chunk
            out = self._run(self._variables, {"image": images}, keys=("rgb",))
            answers.append((out["rgb"], len(chunk)))
            first += len(chunk)
        return np.concatenate([np.asarray(out)[:count] for out, count in answers])

    def _answers(
        self, rows: Sequence[tuple[Item, View]], keys: set[str], tta: bool
    ) -> Iterator[dict]:
        """What the networks say of each view, and the depth map that they saw of it."""
        for first in range(0, len(rows), self.batch):
            chunk = rows[first : first + self.batch]
            arrays = self._arrays(chunk)
            out = self._run(self._variables, arrays, keys=tuple(sorted(keys)), tta=tta)
            out = jax.device_get(out)
            if "depth" in arrays:
                out["depth map"] = arrays["depth"][..., 0]
            for row in range(len(chunk)):
                yield {key: value[row] for key, value in out.items()}

    def _arrays(self, rows: Sequence[tuple[Item, View]]) -> dict[str, np.ndarray]:
        """The batch that `models.inference.predict` takes, filled up with empty rows.

        Depth has 16 bits as soon as one of the maps has.
        """
        size, count = self._size, min(self.batch, 1 << (len(rows) - 1).bit_length())
        arrays = {}
        if rows[0][0].image is not None:
            arrays["image"] = np.full((count, size, size, 3), OUTSIDE)
        depths = [item.depth for item, _ in rows if item.depth is not None]
        if depths:
            kind = np.result_type(*depths)
            arrays["depth"] = np.zeros((count, size, size, 1), kind)
            arrays["has_depth"] = np.zeros(count, bool)
        for row, (item, view) in enumerate(rows):
            if item.image is not None:
                arrays["image"][row] = view.image(item.image, size)
            if item.depth is not None:
                square = view.depth(item.depth, size, item.shape)
                scale = np.iinfo(kind).max // np.iinfo(item.depth.dtype).max
                arrays["depth"][row, ..., 0] = square.astype(kind) * scale
                arrays["has_depth"][row] = True
        return arrays


def load(
    workdir: str | os.PathLike | None = None, checkpoint: str = "best", batch: int = 8
) -> Parser:
    """The parser of a trained run, of a packed file, or the one that ships with the package.

    Args:
        workdir: the run's folder, or a file that ``--mode export`` or ``import`` wrote; both may
            lie on a bucket, ``gs://BUCKET/FOLDER``. The shipped networks where None.
        checkpoint: ``best`` or ``last``.
        batch: inputs parsed at once, at most.

    Raises:
        InputError: no such checkpoint or file, a damaged file, no shipped networks, or a bucket
            that cannot be read.
    """
    place = packed.shipped() if workdir is None else workdir
    return parser_of(load_trained(place, checkpoint), batch)


def parser_of(run: Trained, batch: int = 8) -> Parser:
    """The parser of networks that are open; see `load`."""
    record = run.origin | {
        "step": run.meta["step"],
        "trained_on": run.meta["dataset"],
        "trained_with": run.meta["code_version"],
    }
    if "source" in run.meta:  # of imported weights
        record["imported"] = run.meta["source"]
    levels = run.meta["dataset"].get("depth_levels") or LEVELS
    return Parser(
        run.system, run.variables, run.scheme, run.config.data.size, record, batch, tuple(levels)
    )


def _source(route: str, has_depth: bool) -> str:
    if route == "fusion":
        return "rgb+depth" if has_depth else "rgb+translated depth"
    return "translated depth" if route == "depth_translated" else route
