"""Faces that were moved, shrunk and turned: mean F1 where they are looked for and where not.

    python -m benchmarks.crop --name celebamask_hq_d --config official --data_dir E --out crop

Each photograph is put into a frame of 768 px, over clutter that is drawn at random, and parsed
by the RGB parser with ``crop=none`` and with ``crop=auto``. With --mediapipe PYTHON, an
interpreter with MediaPipe 0.10 (that of .venv-depth), a third way takes squares from MediaPipe's
face detector, whose models ship in its package. Scores count the pixels of the photograph alone.
A face is missed where no square lies near its own, and a square that lies elsewhere is a false one.

Writes OUT/crop.json, OUT/crop.md and the plot OUT/crop.png. An interrupted run goes on.
"""

import argparse
import dataclasses
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

from benchmarks.step import Failed
from faceparse_jax import load
from faceparse_jax.data import reader
from faceparse_jax.evaluation import metrics
from faceparse_jax.prediction import faces
from faceparse_jax.prediction.parser import Parser
from faceparse_jax.prediction.squares import Square
from faceparse_jax.runtime import provenance, records

SIDE = 768
DETECTOR = pathlib.Path(__file__).with_name("mediapipe_faces.py")
OUTSIDE = 255


@dataclasses.dataclass(frozen=True)
class Case:
    """Where photographs are put.

    Attributes:
        scale: side of the photograph, in sides of the frame.
        away: of its centre from that of the frame in a random direction, in sides of the frame.
        angle: in degrees, to the left or to the right.
    """

    scale: float = 1.0
    away: float = 0.0
    angle: float = 0.0


SWEEPS = {
    "shift, sides of the frame": {x: Case(away=x) for x in (0.0, 0.1, 0.3)},
    "scale, photograph by frame": {1 / x: Case(1 / x, 0.5 - 0.5 / x) for x in (2.0, 3.0, 5.0, 8.0)},
    "rotation, degrees": {x: Case(0.7, angle=x) for x in (15.0, 30.0, 60.0, 90.0, 180.0)},
}


def clutter(rng: np.random.Generator) -> np.ndarray:
    """Noise of three sizes and of any colour, u8 [SIDE SIDE 3]."""
    sizes = ((4, 60.0), (16, 35.0), (64, 20.0))
    total = np.full((SIDE, SIDE, 3), rng.uniform(70, 170), np.float32)
    for cells, spread in sizes:
        for channel in (0, 1, 2, slice(None)):
            noise = Image.fromarray(rng.normal(0, spread, (cells, cells)).astype(np.float32))
            large = np.asarray(noise.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
            total[..., channel] += 0.6 * (large if channel in (0, 1, 2) else large[..., None])
    return np.clip(total, 0, 255).astype(np.uint8)


def placed(case: Case, image, label, number: int):
    """The frame, its label with `OUTSIDE` round the photograph, and the photograph's square."""
    rng = np.random.default_rng(number)
    behind, way = clutter(rng), rng.uniform(0, 2 * math.pi)
    angle = math.radians(case.angle) * rng.choice((-1, 1))
    middle = (SIDE / 2 + SIDE * case.away * part(way) for part in (math.cos, math.sin))
    square = Square(*middle, SIDE * case.scale, angle)
    size = max(1, round(square.side))
    small = Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS)
    affine = square._back(size, (0, 0))

    def mapped(picture, way):
        return np.asarray(picture.transform((SIDE, SIDE), Image.Transform.AFFINE, affine, way))

    inside = square.distance((slice(0, SIDE), slice(0, SIDE))) <= 0.5
    nearest = Image.Resampling.NEAREST
    labels = mapped(Image.fromarray(label).resize((size, size), nearest), nearest)
    frame = np.where(inside[..., None], mapped(small, Image.Resampling.BICUBIC), behind)
    return frame, np.where(inside, labels, OUTSIDE).astype(np.uint8), square


class Given:
    """Stands for `Parser.find`, with squares from elsewhere, in the order of the photographs."""

    def __init__(self, squares: list[list[Square]]):
        self._squares = iter(squares)

    def __call__(self, photo):
        found = [faces.Face(square, 1.0) for square in next(self._squares)]
        whole = Square(SIDE / 2, SIDE / 2, SIDE)
        if len(found) == 1 and faces.lies_as_trained(found[0], whole):
            return None
        return found


def near(square: Square, own: Square) -> bool:
    distance = math.hypot(square.x - own.x, square.y - own.y)
    return bool(distance < 0.3 * own.side and 0.5 < square.side / own.side < 2)


def measure(way: str, parser: Parser, cases) -> dict:
    """Confusion matrix, missed and false faces, and seconds of a photograph."""
    classes = parser.scheme.num_classes
    total, missed, false, seconds = np.zeros((classes, classes), np.int64), 0, 0, []
    for frame, label, own in cases:
        start = time.perf_counter()
        crop = "none" if way == "none" else "auto"
        result = parser(frame, output="rgb", crop=crop)
        seconds.append(time.perf_counter() - start)
        counted = label != OUTSIDE
        pairs = classes * label[counted].astype(int) + result.label[counted]
        total += np.bincount(pairs, minlength=classes**2).reshape(total.shape)
        whole = [Square(SIDE / 2, SIDE / 2, SIDE)] if not result.warnings else []
        found = [face.square for face in result.faces] or whole
        hits = [near(square, own) for square in found]
        missed += not any(hits)
        false += len(hits) - sum(hits)
    return {
        "mean_f1": metrics.scores(total, parser.scheme)["f1/mean"],
        "missed": None if way == "none" else missed,
        "false": None if way == "none" else false,
        "seconds": float(np.median(seconds)),
    }


def detected(python: str, frames: list[np.ndarray]) -> list[list[Square]]:
    """The squares that MediaPipe's points give, of each frame."""
    with tempfile.TemporaryDirectory() as folder:
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(pathlib.Path(folder) / f"{number:04d}.png")
        ended = subprocess.run([python, str(DETECTOR), folder], capture_output=True, text=True)
    if ended.returncode:
        raise Failed(ended.stderr.strip().splitlines()[-1])
    answers = json.loads(ended.stdout.splitlines()[-1])
    # The viewer's left eye, the right one and the mouth, where they lie in a square.
    there = np.array([-0.122 - 0.022j, 0.120 - 0.022j, -0.001 + 0.250j])
    result = []
    for found in answers:
        squares = []
        for points in found:
            given = np.array([complex(x, y) for x, y in points]) * SIDE
            centre, origin = given.mean(), there.mean()
            spread = (np.abs(there - origin) ** 2).sum()
            z = (np.conj(there - origin) * (given - centre)).sum() / spread
            middle = centre - z * origin
            squares.append(Square(middle.real, middle.imag, abs(z), math.atan2(z.imag, z.real)))
        result.append(squares)
    return result


WAYS = {"none": "whole frame", "auto": "own parser looks", "mediapipe": "MediaPipe looks"}


def table(found: dict) -> str:
    """All cases, in Markdown."""
    ways = [way for way in WAYS if any(way in of for of in found.values())]
    lines = ["| case | " + " | ".join(f"F1, {WAYS[way]}" for way in ways)]
    lines[0] += "".join(f" | missed, false: {way}" for way in ways if way != "none") + " |"
    lines.append("|---" * (lines[0].count("|") - 1) + "|")
    for name, of in found.items():
        cells = [f"{100 * of[way]['mean_f1']:.1f}" if way in of else "" for way in ways]
        for way in ways:
            if way != "none":
                its = of.get(way)
                cells.append(f"{its['missed']}, {its['false']}" if its else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def plot(found: dict, path: pathlib.Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(SWEEPS), figsize=(12, 3.6), sharey=True)
    for axis, (sweep, cases) in zip(axes, SWEEPS.items(), strict=True):
        for way, told in WAYS.items():
            points = [
                (x, 100 * found[f"{sweep} {x:.2g}"][way]["mean_f1"])
                for x in cases
                if way in found.get(f"{sweep} {x:.2g}", {})
            ]
            if points:
                axis.plot(*zip(*sorted(points), strict=True), marker="o", label=told)
        axis.set_xlabel(sweep)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("mean F1, %")
    axes[0].legend()
    axes[0].set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--name", required=True)
    options.add_argument("--config", required=True)
    options.add_argument("--data_dir", default="~/tensorflow_datasets")
    options.add_argument("--source", choices=("tfds", "arrays"), default="tfds")
    options.add_argument("--split", default="test")
    options.add_argument("--count", type=int, default=100)
    options.add_argument("--workdir", help="else the networks that ship")
    options.add_argument("--mediapipe", metavar="PYTHON")
    options.add_argument("--out", type=pathlib.Path, default="crop")
    flags = options.parse_args()
    parser = load(flags.workdir)
    data = reader.open(
        flags.source, flags.name, flags.config, flags.split, flags.data_dir, size=512
    )
    (batch,) = (batch for batch, _ in zip(data.evaluate(flags.count), range(1), strict=False))
    photos = list(zip(batch["image"], batch["label"], strict=True))[: int(batch["mask"].sum())]
    flags.out.mkdir(parents=True, exist_ok=True)
    file = flags.out / "crop.json"
    asked = {
        key: str(value) for key, value in vars(flags).items() if key not in ("out", "mediapipe")
    }
    asked |= {"code_version": provenance.code_version(), "networks": parser.record}
    stored = json.loads(file.read_text()) if file.exists() else {}
    found = stored.get("cases", {}) if stored.get("asked") == json.loads(json.dumps(asked)) else {}
    ways = ["none", "auto"] + ["mediapipe"] * bool(flags.mediapipe)
    for sweep, cases in SWEEPS.items():
        for x, case in cases.items():
            of = found.setdefault(f"{sweep} {x:.2g}", {})
            if not set(ways) - set(of):
                continue
            frames = [placed(case, *photo, number) for number, photo in enumerate(photos)]
            for way in set(ways) - set(of):
                own = parser
                if way == "mediapipe":
                    own = load(flags.workdir)
                    own.find = Given(detected(flags.mediapipe, [frame for frame, _, _ in frames]))
                of[way] = measure(way, own, frames)
                print(f"{sweep} {x:.2g}, {way}: {of[way]}", flush=True)
                records.write(file, {"asked": asked, "count": len(photos), "cases": found})
    (flags.out / "crop.md").write_text(table(found))
    print(table(found))
    plot(found, flags.out / "crop.png")


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"error: {error}")
