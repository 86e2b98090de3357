"""Depth maps for photographs that have none: estimated from a face mesh.

    python -m faceparse_jax.data.make_depth --images PHOTOS --out DEPTH
    python -m faceparse_jax.data.make_depth --images PHOTOS --out DEPTH --labels LABELS --scheme S

Each photograph gives DEPTH/STEM.png at its size: 0 = none, larger = farther. Without labels
the map covers the face; with a label map, LABELS/STEM.png or STEM_label.png as prediction
writes it, it covers the classes with depth of the scheme. A photograph in which no face is
found gets no map and is listed in DEPTH/not_found.txt. Maps that it wrote there with the same
options are kept.

Runs in an environment of its own, since MediaPipe and TensorFlow need different versions of
protobuf; `./run.sh make_depth` makes it.
"""

import argparse
import dataclasses
import os
import pathlib
import sys
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, PngImagePlugin

from faceparse_jax import images, labels
from faceparse_jax.data import face_mesh
from faceparse_jax.errors import InputError, few
from faceparse_jax.runtime import interrupts, machine, progress

EXIT_BAD_INPUT = 2
SHOWN = 20
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_MOST_FACES = 8
_OPENING = ("mouth", "inner_mouth")  # a hole in the benchmarks' maps

Mesh = tuple[np.ndarray, np.ndarray]
"""Vertices as `face_mesh.rasterise` takes them, and triangles."""


def mesh_finder() -> Callable[[UInt8[np.ndarray, "h w 3"]], list[Mesh]]:
    """A function from a photograph to the meshes of its faces, by MediaPipe.

    The mouth's opening has no triangles, as in the benchmarks; the eyes have.

    Raises:
        InputError: MediaPipe is not installed here.
    """
    os.environ.setdefault("GLOG_minloglevel", "3")
    try:
        from mediapipe.python.solutions import face_mesh as solution
        from mediapipe.python.solutions import face_mesh_connections as connections
    except ImportError as error:
        raise InputError(
            "make_depth",
            f"no MediaPipe in this environment ({error})",
            "what requirements-depth.txt lists",
            "run ./run.sh make_depth, with the same words after it",
        ) from error
    eyes = (connections.FACEMESH_LEFT_EYE, connections.FACEMESH_RIGHT_EYE)
    corners = np.concatenate(
        [
            face_mesh.triangles(connections.FACEMESH_TESSELATION),
            *(face_mesh.fan(face_mesh.ring(eye)) for eye in eyes),
        ]
    )
    detector = solution.FaceMesh(static_image_mode=True, max_num_faces=_MOST_FACES)

    def find(image):
        height, width = image.shape[:2]
        found = detector.process(np.ascontiguousarray(image)).multi_face_landmarks or []
        points = ([(p.x, p.y, p.z) for p in face.landmark] for face in found)
        # z is on the scale of x.
        return [(np.array(of) * (width, height, width), corners) for of in points]

    return find


@dataclasses.dataclass
class Made:
    """What became of the photographs, by stem."""

    written: list[str] = dataclasses.field(default_factory=list)
    kept: list[str] = dataclasses.field(default_factory=list)
    not_found: list[str] = dataclasses.field(default_factory=list)
    several: list[str] = dataclasses.field(default_factory=list)
    faults: list[InputError] = dataclasses.field(default_factory=list)


def depth_map(
    image: UInt8[np.ndarray, "h w 3"],
    meshes: Sequence[Mesh],
    head: np.ndarray | None,
) -> Float[np.ndarray, "h w"] | None:
    """Depth of the largest face, over the head where one is given; None without any.

    Args:
        meshes: of the faces in the image.
        head: bool [h w], where the map shall have depth; None for the mesh alone.
    """
    maps = [face_mesh.rasterise(*mesh, image.shape[:2]) for mesh in meshes]
    sizes = [np.isfinite(depth).sum() for depth in maps]
    if not any(sizes):
        return None
    depth = maps[int(np.argmax(sizes))]
    if head is None:
        return depth
    # A mesh beside the labelled head would be another person's.
    if not (head & np.isfinite(depth)).any():
        return None
    return face_mesh.extend(depth, head)


def _photos(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    if not folder.is_dir():
        raise InputError(f"--images {folder}", "no such folder", "a folder", "name another one")
    found: dict[str, pathlib.Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in _SUFFIXES:
            first = found.setdefault(path.stem, path)
            if first != path:
                what = f"{first.name} and {path.name}"
                raise InputError(str(folder), what, "each stem once", "move one of them away")
    if not found:
        expected = f"photographs ({', '.join(_SUFFIXES)})"
        raise InputError(f"--images {folder}", "none", expected, "name another folder")
    return found


def _head(
    folder: pathlib.Path, stem: str, scheme: labels.Scheme, shape: tuple[int, int]
) -> np.ndarray:
    path = next(
        (p for end in ("", "_label") if (p := folder / f"{stem}{end}.png").exists()),
        folder / f"{stem}.png",
    )
    label = images.read_label(path)
    wrong = label[(label >= scheme.num_classes) & (label != labels.IGNORE)]
    if wrong.size:
        expected = f"0 to {scheme.num_classes - 1} of the scheme {scheme.name}"
        raise InputError(str(path), f"the label value {wrong[0]}", expected, "give its --scheme")
    if abs(label.shape[0] * shape[1] - label.shape[1] * shape[0]) >= max(*label.shape, *shape):
        found, expected = ("{1}x{0} pixels".format(*s) for s in (label.shape, shape))
        raise InputError(str(path), found, f"the proportions of its photograph, {expected}",
                         "give the label of this photograph")  # fmt: skip
    label = Image.fromarray(label).resize(shape[::-1], Image.Resampling.NEAREST)
    covered = [i for i in scheme.depth_classes if scheme.classes[i] not in _OPENING]
    return np.isin(np.asarray(label), covered)


def _check_out(
    out: pathlib.Path, sources: Sequence[pathlib.Path], stems: Sequence[str], mark: str
) -> None:
    """Refuses a folder in which photographs, labels or other maps would pass for finished maps."""
    if out.resolve() in {source.resolve() for source in sources}:
        raise InputError(
            f"--out {out}", "the folder of the inputs", "a folder of its own", "name another one"
        )
    others = [path.name for stem in stems if not _ours(path := out / f"{stem}.png", mark)]
    if others:
        raise InputError(
            f"--out {out}",
            f"{few(others)}, not written by make_depth with these options",
            "room for the maps",
            "name another folder, or move these files away",
        )


def _ours(path: pathlib.Path, mark: str) -> bool:
    """Whether nothing is there, or a map that was made in the same way."""
    if not path.exists():
        return True
    try:
        with Image.open(path) as picture:
            return picture.info.get("Software") == mark
    except OSError:  # whatever it is, it is not ours
        return False


def make(
    photos: pathlib.Path,
    out: pathlib.Path,
    find: Callable[[np.ndarray], list[Mesh]],
    label_folder: pathlib.Path | None = None,
    scheme: labels.Scheme = labels.CELEBAMASK_HQ,
    bits: int = 8,
) -> Made:
    """Writes a depth map for every photograph of a folder.

    Args:
        find: a photograph to the meshes of its faces.
        label_folder: label maps by stem, of `scheme`; None for the face alone.
        bits: 8 or 16, of the maps.

    Raises:
        InputError: no photographs, a folder that cannot be written, or one that holds files of
            these names from elsewhere.
    """
    made = Made()
    paths = _photos(photos)
    area = f"{scheme.name} labels" if label_folder else "face mesh"
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", text := f"faceparse_jax make_depth: {area}, {bits} bits")
    _check_out(out, [photos, *filter(None, [label_folder])], list(paths), text)
    try:
        out.mkdir(parents=True, exist_ok=True)
        bar = progress.bar(paths.items(), "depth", len(paths), "photographs")
        for stem, path in interrupts.stoppable(bar):
            target = out / f"{stem}.png"
            if target.exists():
                made.kept.append(stem)
                continue
            try:
                image = images.read_image(path)
                shape = image.shape[:2]
                head = _head(label_folder, stem, scheme, shape) if label_folder else None
            except InputError as error:
                made.faults.append(error)
                continue
            meshes = find(image)
            depth = depth_map(image, meshes, head)
            if depth is None:
                made.not_found.append(stem)
                continue
            if len(meshes) > 1:
                made.several.append(stem)
            partial = out / f"{stem}.png.partial"
            Image.fromarray(face_mesh.to_grey(depth, bits)).save(partial, "PNG", pnginfo=mark)
            partial.replace(target)
            made.written.append(stem)
        with interrupts.held():
            (out / "not_found.txt").write_text("".join(f"{stem}\n" for stem in made.not_found))
    except OSError as error:
        raise InputError(
            f"--out {out}", str(error), "a folder with room", "make room and run again"
        ) from error
    return made


def _listed(title: str, items: Sequence[object]) -> list[str]:
    more = [f"  and {len(items) - SHOWN:,} more"] if len(items) > SHOWN else []
    return [f"{len(items):,} {title}:", *(f"  {item}" for item in items[:SHOWN]), *more]


def report(made: Made, out: pathlib.Path) -> str:
    """What was written, and what was not and why."""
    lines = [f"{len(made.written):,} depth maps written to {out}, {len(made.kept):,} kept"]
    for title, items in {
        "photographs with several faces, the largest taken": made.several,
        "photographs without a face that was found; no map": made.not_found,
        "files that could not be used": made.faults,
    }.items():
        lines += _listed(title, items) if items else []
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m faceparse_jax.data.make_depth", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--images", type=pathlib.Path, required=True, help="folder of photographs")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of depth maps")
    parser.add_argument("--labels", type=pathlib.Path, help="folder of label maps (index PNG)")
    parser.add_argument("--scheme", choices=sorted(labels.SCHEMES), default="celebamask_hq")
    parser.add_argument("--bits", type=int, choices=(8, 16), default=8)
    options = parser.parse_args(argv)
    try:
        made = make(
            machine.expanded(options.images),
            machine.expanded(options.out),
            mesh_finder(),
            options.labels and machine.expanded(options.labels),
            labels.scheme(options.scheme),
            options.bits,
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    print(report(made, options.out))
    return EXIT_BAD_INPUT if made.faults or not (made.written or made.kept) else 0


if __name__ == "__main__":
    interrupts.run(main)
