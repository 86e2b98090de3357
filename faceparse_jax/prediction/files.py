"""Prediction from files to files."""

import collections
import json
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin

from faceparse_jax.errors import InputError, few
from faceparse_jax.images import depth_to_u8, read_depth, read_image
from faceparse_jax.images.draw import colour_depth, prediction_picture
from faceparse_jax.prediction.inputs import Input, Place, find_inputs
from faceparse_jax.prediction.parser import Pair, Parser, Result, check_pair
from faceparse_jax.runtime.provenance import code_version

RECORD = "predictions.json"
_KINDS = ("label.png", "overlay.png", "depth.png", "probabilities.npz")
_MARK = "faceparse_jax"  # in every file written, so that no other file is ever replaced


def predict_files(
    parser: Parser,
    images: Place | None,
    depths: Place | None,
    out: Place,
    *,
    output: str | None = None,
    probabilities: bool = False,
) -> dict[str, Any]:
    """Parses an image, a depth map, both, or folders of them (see `inputs.find_inputs`).

    For each input it writes ``{stem}_label.png`` (class ids with the scheme's palette, at
    the input's size), ``{stem}_overlay.png`` (with a legend), ``{stem}_depth.png`` where
    depth was translated, and on demand ``{stem}_probabilities.npz`` (float16 [h w k]).
    ``predictions.json`` records them, with those of earlier calls.

    Every input is read, and every error found, before the first file is written; no file
    is ever half written. What an earlier call wrote for the same stem is replaced, or
    removed where this prediction has none of it; any other file in the way is an error.

    Args:
        images, depths: a file or a folder each.
        out: folder to write to; made if need be.
        output: one of `parser.OUTPUTS`, in place of the best that each input allows.

    Returns:
        What ``predictions.json`` holds.

    Raises:
        InputError: inputs that are missing, unreadable, unpaired or not enough for the
            networks; all unreadable files are named at once.
    """
    inputs = find_inputs(images, depths)
    out = pathlib.Path(out).expanduser()
    places = [pathlib.Path(place).expanduser() for place in (images, depths) if place is not None]
    _check_out(out, inputs, places)
    for there in sorted({(item.image is not None, item.depth is not None) for item in inputs}):
        parser.route(*there, output)
    _check_inputs(inputs, parser, output)
    _make_folder(out)

    read: collections.deque[Pair] = collections.deque()  # by a batch ahead of the results

    def pairs() -> Iterator[Pair]:
        for item in inputs:
            read.append(_read(item))
            yield read[-1]

    entries = {}
    results = parser.stream(pairs(), output, probabilities)
    for done, (item, result) in enumerate(zip(inputs, results, strict=True), 1):
        written = _write(out, item.stem, read.popleft(), result, parser)
        entries[item.stem] = _entry(item, result, parser, written)
        if sys.stderr.isatty():
            end = "\n" if done == len(inputs) else ""
            print(f"\r{done}/{len(inputs)}", end=end, file=sys.stderr, flush=True)
    record = {
        "written_by": _MARK,
        "code_version": code_version(),
        "predictions": _earlier(out) | entries,
    }
    _replace(out / RECORD, lambda file: file.write((json.dumps(record, indent=1) + "\n").encode()))
    sources = collections.Counter(entry["source"] for entry in entries.values())
    told = ", ".join(f"{count} from {source}" for source, count in sources.most_common())
    print(f"{told}; written to {out}")
    return record


def _read(item: Input) -> Pair:
    image = None if item.image is None else read_image(item.image)
    depth = None if item.depth is None else read_depth(item.depth)
    return check_pair(image, depth, (str(item.image), str(item.depth)))


def _check_inputs(inputs: Sequence[Input], parser: Parser, output: str | None) -> None:
    """Reads every input once and forgets it, so that nothing is written if one is broken."""

    def problem(item):
        try:
            image, depth = _read(item)
            parser.route(image is not None, depth is not None, output)
        except InputError as error:
            return error
        return None

    with ThreadPoolExecutor() as pool:
        errors = [error for error in pool.map(problem, inputs) if error]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise InputError(
            f"{len(errors)} of {len(inputs)} inputs",
            "; ".join(f"{error.what}: {error.found}" for error in errors),
            "files that can be parsed",
            "mend them or move them away",
        )


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
    sources = {path.resolve() for item in inputs for path in (item.image, item.depth) if path}
    targets = [out / f"{item.stem}_{kind}" for item in inputs for kind in _KINDS]
    lost = [
        path.name
        for path in (*targets, out / RECORD)
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
        record = json.loads(path.read_text())
        return record["written_by"] == _MARK and isinstance(record["predictions"], dict)
    except Exception:  # whatever it is that cannot be read, it is not ours
        return False


def _earlier(out: pathlib.Path) -> dict[str, Any]:
    path = out / RECORD
    return json.loads(path.read_text())["predictions"] if path.exists() else {}


def _write(
    out: pathlib.Path, stem: str, pair: Pair, result: Result, parser: Parser
) -> dict[str, str]:
    """Writes the files of one prediction and removes outdated ones; their names by kind."""
    image, depth = pair
    shown = colour_depth(depth_to_u8(depth)) if image is None else image
    label = Image.fromarray(result.label)
    label.putpalette(parser.scheme.palette.tobytes())
    pictures = {
        "label.png": label,
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
    for kind in _KINDS:
        path = out / f"{stem}_{kind}"
        if kind in writers:
            _replace(path, writers[kind])
        else:
            path.unlink(missing_ok=True)
    return {kind.split(".")[0]: f"{stem}_{kind}" for kind in writers}


def _entry(
    item: Input, result: Result, parser: Parser, written: Mapping[str, str]
) -> dict[str, Any]:
    counts = np.bincount(result.label.ravel(), minlength=parser.scheme.num_classes)
    height, width = result.label.shape
    return {
        "image": str(item.image) if item.image else None,
        "depth": str(item.depth) if item.depth else None,
        "height": height,
        "width": width,
        "source": result.source,
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
