"""Small archives in the official form, made of procedural heads."""

import functools
import io
import pathlib
import shutil
import zipfile

import numpy as np
from PIL import Image

from faceparse_jax import labels
from faceparse_jax.data.synthetic import render_head
from faceparse_jax.labels import conversion

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


def _photo(path: pathlib.Path, key: int, shape: tuple[int, int] | None = None) -> None:
    image = Image.fromarray(head(key)["image"])
    path.parent.mkdir(parents=True, exist_ok=True)
    (image.crop((0, 0, shape[1], shape[0])) if shape else image).save(path)


def eleven(key: int, scheme: labels.Scheme) -> np.ndarray:
    """The head's label in the ids of LaPa or Helen."""
    return conversion.label_map(head(key)["label"][..., 0], labels.CELEBAMASK_HQ, scheme)


# Sides of the crops: photographs of LaPa and Helen differ in size.
SHAPES = {0: (64, 64), 1: (48, 64), 2: (64, 40), 3: (56, 60), 4: (64, 64), 6: (60, 64)}
LAPA_SPLITS = {"train": (0, 1, 2), "val": (3,), "test": (4,)}


def with_helen(manual_dir: pathlib.Path) -> None:
    """LaPa, of whose photographs two for training and the test's are warped ones of Helen."""
    lapa(manual_dir)
    for old, new in {"1000_0": "HELEN_100_1_0", "1001_1": "HELEN_100_1_7",
                     "1004_4": "HELEN_104_1_3"}.items():  # fmt: skip
        for path in sorted(manual_dir.rglob(f"{old}.*")):
            path.rename(path.with_name(path.name.replace(old, new)))


def cropped(values: np.ndarray, key: int) -> np.ndarray:
    height, width = SHAPES[key]
    return values[:height, :width]


def lapa(manual_dir: pathlib.Path, bits: int = 8) -> None:
    """Writes `LaPa` and the folder `LaPa-D` without the last id."""
    for split, keys in LAPA_SPLITS.items():
        root = manual_dir / "LaPa" / split
        for key in keys:
            name = f"{1000 + key}_{key}"
            _photo(root / "images" / f"{name}.jpg", key, SHAPES[key])
            for kind in ("labels", "landmarks"):
                (root / kind).mkdir(exist_ok=True)
            label = Image.fromarray(cropped(eleven(key, labels.LAPA), key))
            label.save(root / "labels" / f"{name}.png")
            points = np.random.default_rng(key).uniform(0, 40, (106, 2))
            lines = ["106", *(f"{x:.6f} {y:.6f}" for x, y in points)]
            (root / "landmarks" / f"{name}.txt").write_text("\n".join(lines) + "\n")
            if key != 4:
                depth = cropped(head(key)["depth"][..., 0], key)
                depth = depth.astype(np.uint16) * 256 + 3 * (depth > 0) if bits == 16 else depth
                place = manual_dir / "LaPa-D" / split / f"{name}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(encode(depth.astype(f"uint{bits}")))


OWN_SPLITS = {"train": (0, 1, 2), "val": (3,), "test": (4,)}
OWN_CLASSES = "\n".join(
    f"{name} #{bytes(colour).hex()}"
    for name, colour in zip(labels.LAPA.classes, labels.LAPA.colours, strict=True)
)


def own(manual_dir: pathlib.Path) -> None:
    """Writes a folder of a user's own, by folders of splits: LaPa's classes, as if they were new.

    Labels for training are pictures in colours, the other ones hold ids. The last id has no depth.
    """
    for split, keys in OWN_SPLITS.items():
        for key in keys:
            name = f"{split}/face{key}"
            _photo(manual_dir / "images" / f"{name}.jpg", key, SHAPES[key])
            label = cropped(eleven(key, labels.LAPA), key)
            label = labels.LAPA.palette[label] if split == "train" else label
            made = {"labels": encode(label)}
            if key != 4:
                made["depth"] = encode(cropped(head(key)["depth"][..., 0], key))
            for kind, data in made.items():
                path = manual_dir / kind / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
    (manual_dir / "classes.txt").write_text(f"# as in LaPa\n{OWN_CLASSES}\n")


def own_by_hash(manual_dir: pathlib.Path, count: int = 30) -> None:
    """As `own`, with so many photographs that differ in a few pixels, and ids for labels."""
    own(manual_dir)
    for kind in ("images", "labels", "depth"):
        shutil.rmtree(manual_dir / kind)
    label = encode(eleven(0, labels.LAPA))
    for number in range(count):
        image = head(number % 5)["image"].copy()
        image[:8, :8] = number
        for kind, data in {"images": encode(image), "labels": label}.items():
            path = manual_dir / kind / f"{number:03d}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)


def helen_smith(manual_dir: pathlib.Path) -> None:
    """Writes Smith's soft maps and the folder `Helen-D` without the last id."""
    root = manual_dir / "SmithCVPR2013_dataset_resized"
    lists = {"exemplars.txt": (0, 1, 2), "tuning.txt": (3,), "testing.txt": (4,)}
    for file, keys in lists.items():
        root.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("".join(f"{k + 1} , {100 + k}_1\n" for k in keys))
        for key in keys:
            name = f"{100 + key}_1"
            _photo(root / "images" / f"{name}.jpg", key, SHAPES[key])
            folder = root / "labels" / name
            folder.mkdir(parents=True)
            label = cropped(eleven(key, labels.HELEN), key)
            for value in range(11):
                soft = np.where(label == value, 200, 10 + value).astype(np.uint8)
                (folder / f"{name}_lbl{value:02d}.png").write_bytes(encode(soft))
            if key != 4:
                _helen_depth(manual_dir, key)


def _helen_depth(manual_dir: pathlib.Path, key: int) -> None:
    (manual_dir / "Helen-D").mkdir(exist_ok=True)
    depth = encode(cropped(head(key)["depth"][..., 0], key))
    (manual_dir / "Helen-D" / f"{100 + key}_1.png").write_bytes(depth)


def helen_relabelled(manual_dir: pathlib.Path) -> None:
    """Writes `helenstar_release`, of whose photographs 106_1 is held out, and `Helen-D`."""
    for split, keys in {"train": (0, 1, 2, 3, 6), "test": (4,)}.items():
        for key in keys:
            name = manual_dir / "helenstar_release" / split / f"{100 + key}_1"
            _photo(name.with_name(f"{name.name}_image.jpg"), key, SHAPES[key])
            label = cropped(eleven(key, labels.HELEN), key)
            name.with_name(f"{name.name}_label.png").write_bytes(encode(label))
            _helen_depth(manual_dir, key)


# What an extraction leaves out or damages in bulk shows in archives of more than a few photographs.
_COPIES = 12
_MASKS, _SMITH = "CelebAMask-HQ/CelebAMask-HQ-mask-anno", "SmithCVPR2013_dataset_resized"


def _copy(root: pathlib.Path, old: str, new: str) -> None:
    """Every file whose name begins with an id, once more for another id."""
    for path in [path for path in root.rglob(f"{old}*") if path.is_file()]:
        place = root / str(path.relative_to(root)).replace(old, new)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)


def many_celebamask_hq(manual: pathlib.Path) -> None:
    """CelebAMask-HQ with 14,000 to 14,011 too, whose masks lie in folder 7."""
    celebamask_hq(manual)
    mapping = manual / "CelebAMask-HQ" / "CelebA-HQ-to-CelebA-mapping.txt"
    lines = []
    for key in range(14_000, 14_000 + _COPIES):
        shutil.copy(
            manual / "CelebAMask-HQ" / "CelebA-HQ-img/0.jpg",
            manual / "CelebAMask-HQ" / f"CelebA-HQ-img/{key}.jpg",
        )
        for path in (manual / _MASKS / "0").glob("00000_*"):
            (manual / _MASKS / "7").mkdir(exist_ok=True)
            shutil.copy(path, manual / _MASKS / "7" / path.name.replace("00000", str(key)))
        shutil.copy(manual / "CelebAMask-HQ-D/0.png", manual / f"CelebAMask-HQ-D/{key}.png")
        lines.append(f"{key} {key} {key + 1:06d}.jpg 0 0\n")
    mapping.write_text(mapping.read_text() + "".join(lines))


def many_lapa(manual: pathlib.Path) -> None:
    lapa(manual)
    for number in range(_COPIES):
        for root in ("LaPa/train", "LaPa-D/train"):
            _copy(manual / root, "1000_0", f"20{number:02d}_0")


def many_helen(manual: pathlib.Path) -> None:
    helen_smith(manual)
    exemplars = manual / _SMITH / "exemplars.txt"
    for number in range(_COPIES):
        _copy(manual / _SMITH, "100_1", f"3{number:02d}_1")
        exemplars.write_text(exemplars.read_text() + f"{number + 9} , 3{number:02d}_1\n")


def many_relabelled(manual: pathlib.Path) -> None:
    helen_relabelled(manual)
    for number in range(_COPIES):
        _copy(manual / "helenstar_release/train", "100_1", f"3{number:02d}_1")


def emptied(*folders: str):
    """What is in the folders is gone, as after an extraction that stopped."""

    def damage(manual: pathlib.Path) -> None:
        for folder in folders:
            shutil.rmtree(manual / folder)
            (manual / folder).mkdir()

    return damage


def removed(folder: str, pattern: str):
    def damage(manual: pathlib.Path) -> None:
        for path in sorted((manual / folder).glob(pattern)):
            path.unlink() if path.is_file() else shutil.rmtree(path)

    return damage


def zeroed(folder: str, pattern: str):
    def damage(manual: pathlib.Path) -> None:
        for path in (manual / folder).glob(pattern):
            path.write_bytes(b"")

    return damage
