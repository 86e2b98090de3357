"""Prediction from files to files, of which each is kept as soon as it is done."""

import collections
import contextlib
import dataclasses
import functools
import itertools
import json
import math
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from faceparse_jax.data.batches import ahead
from faceparse_jax.errors import InputError, few
from faceparse_jax.prediction import results, video
from faceparse_jax.prediction.crop import Crop, region_of
from faceparse_jax.prediction.inputs import Found, Input, Place, find_inputs, several
from faceparse_jax.prediction.items import Item
from faceparse_jax.prediction.parser import Parser, Result, Seen
from faceparse_jax.prediction.record import journaled, recorded
from faceparse_jax.runtime import interrupts, machine, progress
from faceparse_jax.runtime.lock import locked
from faceparse_jax.runtime.provenance import code_version

X = TypeVar("X")
_SHOWN = 20


class Unparsed(InputError):
    """Some inputs of many could not be parsed; the others were, and are kept."""

    exit_status = 4

    def __init__(self, errors: Sequence[InputError], total: int):
        super().__init__(
            *_broken(errors, total),
            "mend them or move them away, and run the same command: the others are kept",
        )


def _broken(errors: Sequence[InputError], total: int) -> tuple[str, str, str]:
    """What was found where several inputs cannot be parsed, and what was expected."""
    shown = [f"{error.what}: {error.found}" for error in errors[:_SHOWN]]
    if len(errors) > _SHOWN:
        shown.append(f"and {len(errors) - _SHOWN} more")
    return f"{len(errors)} of {total} inputs", "; ".join(shown), "files that can be parsed"


@dataclasses.dataclass(frozen=True)
class Settings:
    """How inputs are parsed; see `Parser.__call__`."""

    output: str | None = None
    probabilities: bool = False
    depth_kind: str = "benchmark"
    depth_missing: int | float | None = None
    uncertainty: bool = False
    crop: Crop = "auto"
    tta: bool = False
    scheme: str | None = None


def predict_files(
    parser: Parser,
    images: Place | Sequence[Place] | None,
    depths: Place | None,
    out: Place,
    settings: Settings = Settings(),
    strict: bool = False,
) -> dict[str, Any]:
    """Parses images, a depth map, both, or folders of them (see `inputs.find_inputs`).

    Reading, the networks and writing overlap, and at most three batches are in memory at a time.

    For each input it writes ``{stem}_label.png`` (class ids in one grey channel, at the
    input's size), ``{stem}_colours.png`` (the same with the scheme's palette),
    ``{stem}_overlay.png`` (with a legend), ``{stem}_depth.png`` where depth was translated,
    ``{stem}_faces.png`` (the face that a pixel belongs to, from 1 on) where there are several, and
    on demand ``{stem}_uncertainty.png`` (grey, 255 = 1) and ``{stem}_probabilities.npz`` (float16
    [h w k]). ``predictions.json`` records them, with those of earlier calls.

    No file is ever half written. An input is recorded as soon as its files are written, and a
    later call with the same settings and networks leaves out what is recorded. What an earlier
    call wrote for the same stem is replaced, or removed where this prediction has none of it;
    any other file in the way is an error.

    A video gives ``{stem}_labels.mkv``, ``{stem}_overlay.mp4`` and ``{stem}_areas.csv`` instead
    (see `video.Writer`).

    Args:
        images: files and folders; videos only where they are named themselves.
        depths: a file or a folder.
        out: folder to write to; made if need be.
        strict: read every input first, of videos the first frame, and write nothing where one
            cannot be parsed; so it is with one input anyway.

    Returns:
        What ``predictions.json`` holds.

    Raises:
        InputError: inputs that are missing or unpaired, files in the way, another process that
            writes to `out`, results that a video does not have, nothing that reads videos, or,
            strictly, inputs that cannot be parsed.
        Unparsed: some of several inputs cannot be parsed.
        Stopped: a signal came; what is done is recorded.
    """
    found = find_inputs(images, depths)
    inputs, total = found.inputs, len(found.inputs) + len(found.unreadable)
    out = machine.expanded(out)
    places = [machine.expanded(place) for place in (*several(images), *several(depths))]
    results.check_out(out, inputs, places)
    parser.target(settings.scheme)
    for there in sorted({(item.image is not None, item.depth is not None) for item in inputs}):
        _check_route(parser, *there, settings)
    clips = [str(files.image) for files in inputs if files.is_video]
    if clips:
        _check_videos(clips, settings)
    if strict or total == 1:
        _check_inputs(found, parser, settings)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    results.make_folder(out)
    with locked(out, "--out"):
        before = recorded(out)
        keys = {files.stem: _key(files, parser, settings) for files in inputs}
        todo = [
            files
            for files in inputs
            if (entry := before.get(files.stem, {})).get("key") != keys[files.stem]
            or not all((out / name).exists() for name in entry["written"].values())
        ]
        errors = list(found.unreadable)
        clips = [files for files in todo if files.is_video]
        todo = [files for files in todo if not files.is_video]
        if todo or clips:
            progress.compiling("the prediction")
        read = functools.partial(_read, parser=parser, settings=settings)
        answered = _answered(todo, read, parser, settings, errors)
        first = list(itertools.islice(answered, 1))  # compiles, while there is nothing to lose
        with journaled(out) as keep, _threads() as threads:

            def finished(one: tuple[Input, Callable[[], Result]]) -> tuple[str, dict[str, Any]]:
                (files, finish), stem = one, one[0].stem
                result = finish()
                written = results.write(out, stem, result)
                entry = _entry(files, result, parser, written) | {"key": keys[stem]}
                keep(stem, entry)
                return stem, entry

            each = ahead(finished, itertools.chain(first, answered), parser.batch, threads)
            each = interrupts.stoppable(each)
            entries = dict(progress.bar(each, "predict", len(todo), "inputs"))
            for files in clips:
                stem = files.stem
                try:
                    entry = _parse_video(files, parser, settings, out, threads)
                except video.Unwritable:
                    raise
                except InputError as error:
                    errors.append(error)
                    continue
                entries[stem] = entry | {"key": keys[stem]}
                keep(stem, entries[stem])
    _tell(out, entries, len(inputs) - len(todo) - len(clips), total)
    if errors:
        raise Unparsed(errors, total)
    return {"predictions": before | entries}


@contextlib.contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that, however this ends, finish what they have begun and begin nothing more."""
    threads = ThreadPoolExecutor(machine.cores(), "results")
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)


def _parse_video(
    files: Input, parser: Parser, settings: Settings, out: pathlib.Path, threads: Executor
) -> dict[str, Any]:
    """Writes the files of a video, in one pass, and returns what the record holds of it.

    Raises:
        video.Unwritable: its files cannot be written; nothing is left of them.
        InputError: the video cannot be parsed to its end; nothing is written.
        Stopped: a signal came; nothing is written.
    """

    def read(frame: video.Frame) -> Item:
        item = Item(frame.image, None)
        _check_crop(item, settings, str(files.image))
        return item

    def finished(one: tuple[video.Frame, Callable[[], Result]]):
        result = one[1]()
        return one[0].ticks, result, result.overlay()

    warned: collections.Counter[str] = collections.Counter()
    with video.opened(files.image) as clip:
        answered = _answered(clip, read, parser, settings)
        first = list(itertools.islice(answered, 1))  # compiles, if no photograph did
        with video.Writer(out / files.stem, clip, parser.target(settings.scheme)) as writer:
            each = ahead(finished, itertools.chain(first, answered), parser.batch, threads)
            each = interrupts.stoppable(each)
            for ticks, result, shown in progress.bar(each, files.stem, clip.frames, "frames"):
                writer.add(ticks, result.label, shown)
                warned.update(result.warnings)
            paths = writer.finish()
    warnings = [f"{told} ({count} of {writer.frames} frames)" for told, count in warned.items()]
    warnings += clip.doubts(writer.frames, ticks)
    height, width = writer.shape
    scheme = result.scheme
    return {
        "image": str(files.image),
        "frames": writer.frames,
        "height": height,
        "width": width,
        "source": result.source,
        "warnings": warnings,
        "scheme": scheme.name,
        "pixels": {n: int(c) for n, c in zip(scheme.classes, writer.pixels, strict=True) if c},
        "written": {path.stem.rpartition("_")[2]: path.name for path in paths},
        "checkpoint": parser.record,
    }


def _answered(
    todo: Iterable[X],
    read: Callable[[X], Item],
    parser: Parser,
    settings: Settings,
    errors: list[InputError] | None = None,
) -> Iterator[tuple[X, Callable[[], Result]]]:
    """Each input that can be parsed, with what makes its result of the networks' answer.

    Args:
        read: gives an item, or raises InputError.
        errors: gets those of the other inputs; None where the first of them ends it all.
    """
    waiting: collections.deque[X] = collections.deque()  # by a batch ahead of the answers

    def look(one: X) -> tuple[X, Seen | InputError]:
        try:
            return one, parser.seen(read(one), settings.crop)
        except InputError as error:
            return one, error

    def seen() -> Iterator[Seen]:
        for one, found in ahead(look, todo, parser.batch):
            if isinstance(found, InputError):
                if errors is None:
                    raise found
                errors.append(found)
                continue
            waiting.append(one)
            yield found

    how = {"output": settings.output, "tta": settings.tta, "scheme": settings.scheme}
    how |= {"probabilities": settings.probabilities, "uncertainty": settings.uncertainty}
    for finish in parser.answers(seen(), **how):
        yield waiting.popleft(), finish


def _tell(
    out: pathlib.Path, entries: Mapping[str, Mapping[str, Any]], kept: int, total: int
) -> None:
    """Prints what was parsed, warnings of one kind together, and how many inputs were kept."""
    warned: dict[str, list[str]] = {}
    for stem, entry in entries.items():
        for warning in entry["warnings"]:
            warned.setdefault(warning, []).append(stem)
    for warning, stems in warned.items():
        print(f"warning: {few(stems)}: {warning}", file=sys.stderr)
    if kept:
        told = f"{kept} of {total} inputs were parsed before and are kept"
        print(f"note: {told}", file=sys.stderr)
    if entries:
        sources = collections.Counter(entry["source"] for entry in entries.values())
        told = ", ".join(f"{count} from {source}" for source, count in sources.most_common())
        print(f"{told}; written to {out}")


def _read(files: Input, parser: Parser, settings: Settings) -> Item:
    kind = {"depth_kind": settings.depth_kind, "depth_missing": settings.depth_missing}
    image = video.first_image(files.image) if files.is_video else files.image
    item = parser.item(image, files.depth, **kind)
    _check_route(parser, item.image is not None, item.depth is not None, settings)
    _check_crop(item, settings, str(files.image or files.depth))
    return item


def _check_crop(item: Item, settings: Settings, name: str) -> None:
    """Raises InputError for a box that lies outside of an input; `name` is what it calls it."""
    if not isinstance(settings.crop, str):
        region_of(settings.crop, item.shape, name)


def _check_route(parser: Parser, image: bool, depth: bool, settings: Settings) -> None:
    """Raises InputError where the networks cannot give what is asked for such an input."""
    parser.route(image, depth, settings.output)
    if settings.uncertainty and not parser.both_answer(image, depth):
        parts = [name for name, there in (("image", image), ("depth map", depth)) if there]
        raise InputError(
            "--uncertainty",
            f"an input ({' and '.join(parts)}) for which one parser of these networks answers",
            "inputs for which both parsers answer",
            "leave --uncertainty out, or give image and depth map to networks with both parsers",
        )


def _check_videos(clips: Sequence[str], settings: Settings) -> None:
    """Refuses what is not written of a video, before anything is parsed."""
    for name in ("probabilities", "uncertainty"):
        if getattr(settings, name):
            raise InputError(
                f"--{name}",
                f"a video ({few(clips)})",
                "photographs or depth maps",
                f"leave --{name} out, or parse the frames that matter as photographs",
            )
    video.check_reader(clips[0])


def _check_inputs(found: Found, parser: Parser, settings: Settings) -> None:
    """Reads every input once and forgets it, so that nothing is written if one is broken."""

    def problem(files):
        try:
            _read(files, parser, settings)
        except InputError as error:
            return error
        return None

    with ThreadPoolExecutor(machine.cores()) as pool:
        errors = [error for error in pool.map(problem, found.inputs) if error]
    errors += found.unreadable
    total = len(found.inputs) + len(found.unreadable)
    if errors and total == 1:
        raise errors[0]
    if errors:
        next_step = "mend them or move them away, or leave --strict out to parse the others"
        raise InputError(*_broken(errors, total), next_step)


def _key(files: Input, parser: Parser, settings: Settings) -> dict[str, Any]:
    """What a prediction depends on, as JSON holds it; equal for equal results."""

    def there(path):
        try:
            found = path.stat()
        except OSError:  # told when it is read
            return None
        return [found.st_size, found.st_mtime_ns]

    sizes = {str(path.absolute()): there(path) for path in (files.image, files.depth) if path}
    missing = settings.depth_missing
    # Values that are not finite are no depth anyway, and JSON has none.
    if missing is not None and not math.isfinite(missing):
        missing = None
    key = {
        "inputs": sizes,
        "settings": dataclasses.asdict(settings) | {"depth_missing": missing},
        "checkpoint": parser.record,
        "code_version": code_version(),
    }
    return json.loads(json.dumps(key))


def _entry(
    files: Input, result: Result, parser: Parser, written: Mapping[str, str]
) -> dict[str, Any]:
    scheme = result.scheme
    counts = np.bincount(result.label.ravel(), minlength=scheme.num_classes)
    height, width = result.label.shape
    return {
        "image": str(files.image) if files.image else None,
        "image_turned": result.item.turn,
        "depth": str(files.depth) if files.depth else None,
        "depth_kind": result.depth_kind,
        "depth_turned": result.item.depth_turned,
        "height": height,
        "width": width,
        "source": result.source,
        "warnings": list(result.warnings),
        "faces": [
            {
                "corners": face.square.corners().astype(float).round(1).tolist(),
                "score": face.score and round(face.score, 3),
            }
            for face in result.faces
        ],
        "mean_confidence": round(float(result.confidence.mean()), 4),
        "scheme": scheme.name,
        "pixels": {n: int(c) for n, c in zip(scheme.classes, counts, strict=True) if c},
        "written": dict(written),
        "checkpoint": parser.record,
    }
