"""Compares two folders of depth maps of the same photographs, and draws them side by side.

python -m benchmarks.depth --made DEPTH --reference OTHER --images PHOTOS --sheet sheet.png
"""

import argparse
import pathlib

import numpy as np
from PIL import Image

from faceparse_jax import images

_SIDE, _COLUMNS, _SHOWN = 192, 3, 15


def compare(made: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Correlation where both maps have depth, and intersection over union of where they have."""
    both, either = (made > 0) & (reference > 0), (made > 0) | (reference > 0)
    return np.corrcoef(made[both], reference[both])[0, 1], both.sum() / either.sum()


def _tile(photo: pathlib.Path, *maps: np.ndarray) -> np.ndarray:
    size = (_SIDE, _SIDE)
    tiles = [np.asarray(Image.fromarray(images.read_image(photo)).resize(size))]
    for depth in maps:
        grey = np.asarray(Image.fromarray(images.depth_to_u8(depth)).resize(size, 0))
        tiles.append(np.repeat(grey[..., None], 3, -1))
    return np.concatenate(tiles, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--made", type=pathlib.Path, required=True)
    parser.add_argument("--reference", type=pathlib.Path, required=True)
    parser.add_argument("--images", type=pathlib.Path, required=True)
    parser.add_argument("--sheet", type=pathlib.Path)
    options = parser.parse_args()
    rows, tiles = [], []
    for path in sorted(options.made.glob("*.png")):
        if not (options.reference / path.name).exists():
            continue
        made, reference = (images.read_depth(p) for p in (path, options.reference / path.name))
        if not reference.any():
            continue
        rows.append(compare(made, reference))
        if len(tiles) < _SHOWN:
            photo = next(options.images.glob(f"{path.stem}.*"))
            tiles.append(_tile(photo, made, reference))
    if not rows:
        parser.error(f"no PNG of one name in {options.made} and {options.reference}")
    correlation, coverage = np.array(rows).T
    for name, values in (("correlation", correlation), ("coverage (IoU)", coverage)):
        low, middle, high = np.percentile(values, (5, 50, 95))
        print(f"{name:15} median {middle:.3f}, 5th to 95th percentile {low:.3f} to {high:.3f}")
    print(f"{len(rows)} maps compared")
    if options.sheet:
        tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % _COLUMNS)
        lines = [np.concatenate(tiles[i : i + _COLUMNS], 1) for i in range(0, len(tiles), _COLUMNS)]
        Image.fromarray(np.concatenate(lines)).save(options.sheet)


if __name__ == "__main__":
    main()
