"""Small archives in the official form, made of procedural heads."""

import functools
import io
import pathlib
import zipfile

import numpy as np
from PIL import Image

from faceparse_jax import labels
from faceparse_jax.data.synthetic import render_head

SIZE = 64
# Image ids and their numbers in CelebA, on both sides of each border of the splits.
IDS = {0: 1, 1: 162_770, 2: 162_771, 2001: 182_637, 2002: 182_638}
SPLITS = {"train": 2, "validation": 2, "test": 1}


def encode(values: np.ndarray, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, form)
    return file.getvalue()


@functools.cache
def head(key: int) -> dict[str, np.ndarray]:
    return render_head(key, SIZE)


def masks(label: np.ndarray) -> dict[str, np.ndarray]:
    """Part masks of a label map, with skin below the parts of the face as in the archive."""
    classes = labels.CELEBAMASK_HQ.classes
    parts = {classes[c]: label == c for c in np.unique(label) if c}
    parts["skin"] = np.isin(label, [1, 2, 4, 5, 6, 7, 10, 11, 12])
    return parts


def celebamask_hq(manual_dir: pathlib.Path, depth: bool = True, image_size: int = 2 * SIZE):
    """Writes `CelebAMask-HQ` and, as a folder, `CelebAMask-HQ-D` without the last id."""
    root = manual_dir / "CelebAMask-HQ"
    (root / "CelebA-HQ-img").mkdir(parents=True)
    lines = ["idx                 orig_idx            orig_file           proc_md5   final_md5"]
    for key, number in IDS.items():
        lines.append(f"{key:<20}{number - 1:<20}{number:06d}.jpg          00         00")
        made = head(key)
        image = Image.fromarray(made["image"]).resize((image_size, image_size))
        image.save(root / "CelebA-HQ-img" / f"{key}.jpg")
        folder = root / "CelebAMask-HQ-mask-anno" / str(key // 2000)
        folder.mkdir(parents=True, exist_ok=True)
        for part, mask in masks(made["label"][..., 0]).items():
            Image.fromarray(mask).save(folder / f"{key:05d}_{part}.png")
        if depth and key != max(IDS):
            place = manual_dir / "CelebAMask-HQ-D"
            place.mkdir(exist_ok=True)
            Image.fromarray(made["depth"][..., 0]).save(place / f"{key}.png")
    (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(lines) + "\n")


def pack(folder: pathlib.Path) -> pathlib.Path:
    """A zip beside the folder with the folder in it, as the official archives are packed."""
    path = folder.with_name(folder.name + ".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return path
