"""Prediction from files to files, of which each is kept as soon as it is done."""

import collections
import contextlib
import dataclasses
import itertools
import json
import math
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin

from faceparse_jax.errors import InputError, few
from faceparse_jax.images import (
    contents,
    depth_to_u8,
    read_depth,
    read_image,
    turn_of,
    turned,
)
from faceparse_jax.images.draw import colour_depth, prediction_picture
from faceparse_jax.prediction.inputs import Input, Place, find_inputs
from faceparse_jax.prediction.parser import Item, Parser, Result, same_frame
from faceparse_jax.runtime import interrupts, machine, progress
from faceparse_jax.runtime.lock import locked
from faceparse_jax.runtime.provenance import code_version

RECORD = "predictions.json"
_JOURNAL = "predictions.partial.jsonl"  # a line for each input since the last whole record
_KINDS = ("label.png", "colours.png", "overlay.png", "depth.png", "probabilities.npz")
_SHOWN = 20
_MAX_NAME = 255  # bytes of a file's name on nearly every file system
_MARK = "faceparse_jax"  # in every file written, so that no other file is ever replaced


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


def predict_files(
    parser: Parser,
    images: Place | None,
    depths: Place | None,
    out: Place,
    settings: Settings = Settings(),
    strict: bool = False,
) -> dict[str, Any]:
    """Parses an image, a depth map, both, or folders of them (see `inputs.find_inputs`).

    For each input it writes ``{stem}_label.png`` (class ids in one grey channel, at the
    input's size), ``{stem}_colours.png`` (the same with the scheme's palette),
    ``{stem}_overlay.png`` (with a legend), ``{stem}_depth.png`` where depth was translated, and
    on demand ``{stem}_probabilities.npz`` (float16 [h w k]). ``predictions.json`` records them,
    with those of earlier calls.

    No file is ever half written. An input is recorded as soon as its files are written, and a
    later call with the same settings and networks leaves out what is recorded. What an earlier
    call wrote for the same stem is replaced, or removed where this prediction has none of it;
    any other file in the way is an error.

    Args:
        images, depths: a file or a folder each.
        out: folder to write to; made if need be.
        strict: read every input first, and write nothing where one cannot be parsed; so it is
            with one input anyway.

    Returns:
        What ``predictions.json`` holds.

    Raises:
        InputError: inputs that are missing or unpaired, files in the way, another process that
            writes to `out`, or, strictly, inputs that cannot be parsed.
        Unparsed: some of several inputs cannot be parsed.
        Stopped: a signal came; what is done is recorded.
    """
    inputs = find_inputs(images, depths)
    out = machine.expanded(out)
    places = [machine.expanded(place) for place in (images, depths) if place is not None]
    _check_out(out, inputs, places)
    for there in sorted({(item.image is not None, item.depth is not None) for item in inputs}):
        parser.route(*there, settings.output)
    if strict or len(inputs) == 1:
        _check_inputs(inputs, parser, settings)
    _make_folder(out)
    with locked(out, "--out"):
        recorded = _recorded(out)
        keys = {item.stem: _key(item, parser, settings) for item in inputs}
        todo = [
            item
            for item in inputs
            if (entry := recorded.get(item.stem, {})).get("key") != keys[item.stem]
            or not all((out / name).exists() for name in entry["written"].values())
        ]
        errors: list[InputError] = []
        read: collections.deque[_Read] = collections.deque()  # by a batch ahead of the results

        def items() -> Iterator[Item]:
            for item in todo:
                try:
                    read.append(_read(item, parser, settings))
                except InputError as error:
                    errors.append(error)
                    continue
                yield read[-1].item

        entries: dict[str, dict[str, Any]] = {}
        warned: dict[str, list[str]] = {}
        results = parser.stream(items(), settings.output, settings.probabilities)
        if todo:
            progress.compiling("the prediction")
        first = list(itertools.islice(results, 1))  # compiles, while there is nothing to lose
        with _journal(out) as journal:
            each = interrupts.stoppable(itertools.chain(first, results))
            for result in progress.bar(each, "predict", len(todo), "inputs"):
                this = read.popleft()
                written = _write(out, this, result, parser)
                entry = _entry(this, result, parser, written) | {"key": keys[this.files.stem]}
                entries[this.files.stem] = entry
                journal(this.files.stem, entry)
                for warning in entry["warnings"]:
                    warned.setdefault(warning, []).append(this.files.stem)
    for warning, stems in warned.items():
        print(f"warning: {few(stems)}: {warning}", file=sys.stderr)
    if len(todo) < len(inputs):
        kept = f"{len(inputs) - len(todo)} of {len(inputs)} inputs were parsed before and are kept"
        print(f"note: {kept}", file=sys.stderr)
    if entries:
        sources = collections.Counter(entry["source"] for entry in entries.values())
        told = ", ".join(f"{count} from {source}" for source, count in sources.most_common())
        print(f"{told}; written to {out}")
    if errors:
        raise Unparsed(errors, len(inputs))
    return {"predictions": recorded | entries}


@dataclasses.dataclass(frozen=True)
class _Read:
    """An input that was read.

    Attributes:
        turn: Pillow's name of what EXIF asked for, and of what was done to the photograph.
        depth_turned: whether the same was done to the depth map.
    """

    files: Input
    item: Item
    turn: str | None = None
    depth_turned: bool = False


_QUARTERS = (
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
)


def _read(files: Input, parser: Parser, settings: Settings) -> _Read:
    kind, missing = settings.depth_kind, settings.depth_missing
    image = depth = turn = None
    warnings: tuple[str, ...] = ()
    depth_turned = False
    if files.image is not None:
        data, name = contents(files.image)
        image, turn = read_image(data, name), turn_of(data)
    if files.depth is not None:
        depth = read_depth(files.depth, measured=True)
    if turn is not None and depth is not None:
        fits = same_frame(image.shape[:2], depth.shape)
        fits_turned = turn in _QUARTERS and same_frame(image.shape[:2], depth.shape[::-1])
        if fits_turned and not fits:
            depth, depth_turned = turned(depth, turn), True
        elif fits_turned or turn not in _QUARTERS:
            warnings = (
                "the photograph was turned as its EXIF orientation asks for, and the sizes do not "
                "tell whether the depth map lies the same way: look at the overlay",
            )
    item = parser.item(image, depth, kind, missing, (str(files.image), str(files.depth)))
    parser.route(item.image is not None, item.depth is not None, settings.output)
    item = dataclasses.replace(item, warnings=item.warnings + warnings)
    return _Read(files, item, turn and turn.name, depth_turned)


def _check_inputs(inputs: Sequence[Input], parser: Parser, settings: Settings) -> None:
    """Reads every input once and forgets it, so that nothing is written if one is broken."""

    def problem(files):
        try:
            _read(files, parser, settings)
        except InputError as error:
            return error
        return None

    with ThreadPoolExecutor(machine.cores()) as pool:
        errors = [error for error in pool.map(problem, inputs) if error]
    if errors and len(inputs) == 1:
        raise errors[0]
    if errors:
        next_step = "mend them or move them away, or leave --strict out to parse the others"
        raise InputError(*_broken(errors, len(inputs)), next_step)


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


def _check_out(out: pathlib.Path, inputs: Sequence[Input], places: Sequence[pathlib.Path]) -> None:
    """Refuses a folder in which something would be lost."""
    try:
        in_the_way = out.exists() and not out.is_dir()
    except OSError as error:  # a name that no folder can have
        raise InputError(
            str(out), error.strerror, "a folder to write to", "choose another --out"
        ) from error
    if in_the_way:
        raise InputError(str(out), "a file", "a folder to write to", "choose another --out")
    if out.resolve() in {place.resolve() for place in places}:
        raise InputError(
            str(out),
            "the folder of the inputs",
            "another folder: results would be taken for inputs the next time",
            f"choose another --out, such as {out / 'parsed'}",
        )
    ending = max(map(len, _KINDS)) + len("_.partial")
    long = [item.stem for item in inputs if len(os.fsencode(item.stem)) + ending > _MAX_NAME]
    if long:
        raise InputError(
            few(long),
            "a name that is too long for those of the results",
            f"at most {_MAX_NAME - ending} bytes without the suffix",
            "rename the input",
        )
    sources = {path.resolve() for item in inputs for path in (item.image, item.depth) if path}
    targets = [out / f"{item.stem}_{kind}" for item in inputs for kind in _KINDS]
    lost = [
        path.name
        for path in (*targets, out / RECORD, out / _JOURNAL)
        if path.exists() and (path.resolve() in sources or not _ours(path))
    ]
    if lost:
        raise InputError(
            str(out),
            f"{few(lost)}, not written by a prediction or an input of this one",
            "room for the results",
            "choose another --out, or move these files away",
        )


def _ours(path: pathlib.Path) -> bool:
    """Whether a prediction wrote this file."""
    try:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                return picture.info.get("Software") == _MARK
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                return str(arrays["written_by"]) == _MARK
        if path.suffix == ".jsonl":
            lines = path.read_text().splitlines()
            return not lines or json.loads(lines[0])["written_by"] == _MARK
        record = json.loads(path.read_text())
        return record["written_by"] == _MARK and isinstance(record["predictions"], dict)
    except Exception:  # whatever it is that cannot be read, it is not ours
        return False


def _recorded(out: pathlib.Path) -> dict[str, Any]:
    """The entries of earlier calls, by stem, also of calls that did not end."""
    path, journal = out / RECORD, out / _JOURNAL
    entries = json.loads(path.read_text())["predictions"] if path.exists() else {}
    lines = journal.read_text().splitlines() if journal.exists() else []
    for line in lines[1:]:
        with contextlib.suppress(ValueError, TypeError):  # the last one may be torn
            entries |= json.loads(line)
    return {stem: entry for stem, entry in entries.items() if isinstance(entry, dict)}


@contextlib.contextmanager
def _journal(out: pathlib.Path) -> Iterator[Callable[[str, dict[str, Any]], None]]:
    """Keeps a line for each entry; at the end, however it comes, the record holds them all."""
    path = out / _JOURNAL
    entries = _recorded(out)
    header = {"written_by": _MARK}
    lines = [header, *({stem: entry} for stem, entry in entries.items())]
    try:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        _replace(path, lambda whole: whole.write(text.encode()))
        with path.open("a") as file:

            def add(stem, entry):
                entries[stem] = entry
                file.write(json.dumps({stem: entry}) + "\n")
                file.flush()

            try:
                yield add
            finally:
                record = header | {"code_version": code_version(), "predictions": entries}
                text = json.dumps(record, indent=1) + "\n"
                _replace(out / RECORD, lambda whole: whole.write(text.encode()))
                path.unlink()
    except OSError as error:
        raise InputError(
            str(path), str(error), "a file that can be written", "choose another --out"
        ) from error


def _write(out: pathlib.Path, read: _Read, result: Result, parser: Parser) -> dict[str, str]:
    """Writes the files of one prediction and removes outdated ones; their names by kind."""
    image, depth = read.item.image, read.item.depth
    shown = colour_depth(depth_to_u8(depth)) if image is None else image
    # TensorFlow and OpenCV read a palette as colours, so the ids are grey and have no palette.
    coloured = Image.fromarray(result.label)
    coloured.putpalette(parser.scheme.palette.tobytes())
    pictures = {
        "label.png": Image.fromarray(result.label),
        "colours.png": coloured,
        "overlay.png": Image.fromarray(prediction_picture(shown, result.label, parser.scheme)),
    }
    if result.depth is not None:
        pictures["depth.png"] = Image.fromarray(result.depth)
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", _MARK)
    writers: dict[str, Callable[[BinaryIO], Any]] = {
        kind: lambda file, picture=picture: picture.save(file, "PNG", pnginfo=mark)
        for kind, picture in pictures.items()
    }
    if result.probabilities is not None:
        arrays = {"probabilities": result.probabilities, "classes": np.array(parser.scheme.classes)}
        writers["probabilities.npz"] = lambda file: np.savez_compressed(
            file, **arrays, written_by=_MARK
        )
    stem = read.files.stem
    for kind in _KINDS:
        path = out / f"{stem}_{kind}"
        if kind in writers:
            _replace(path, writers[kind])
        else:
            path.unlink(missing_ok=True)
    return {kind.split(".")[0]: f"{stem}_{kind}" for kind in writers}


def _entry(
    read: _Read, result: Result, parser: Parser, written: Mapping[str, str]
) -> dict[str, Any]:
    counts = np.bincount(result.label.ravel(), minlength=parser.scheme.num_classes)
    height, width = result.label.shape
    return {
        "image": str(read.files.image) if read.files.image else None,
        "image_turned": read.turn,
        "depth": str(read.files.depth) if read.files.depth else None,
        "depth_kind": result.depth_kind,
        "depth_turned": read.depth_turned,
        "height": height,
        "width": width,
        "source": result.source,
        "warnings": list(result.warnings),
        "mean_confidence": round(float(result.confidence.mean()), 4),
        "scheme": parser.scheme.name,
        "pixels": {n: int(c) for n, c in zip(parser.scheme.classes, counts, strict=True) if c},
        "written": dict(written),
        "checkpoint": parser.record,
    }


def _make_folder(out: pathlib.Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            str(out), str(error), "a folder that can be made", "choose another --out"
        ) from error


def _replace(path: pathlib.Path, write: Callable[[BinaryIO], Any]) -> None:
    """Writes beside the target first, so that a reader never sees half a file."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            write(file)
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(
                str(path), str(error), "a file that can be written", "choose another --out"
            ) from error
        raise
