"""Writes rendered heads as image files, to try prediction on.

    python -m tfds_builders.synthetic_heads.export --out DIR [--count 4] [--size 256]

Their keys lie beyond those of every prepared set, so no network has seen them.
"""

import argparse
import pathlib

from PIL import Image

from faceparse_jax.data.synthetic import render_head

FIRST_KEY = 1_000_000


def export(out: pathlib.Path, count: int, size: int) -> None:
    """Writes ``head_<n>.png`` and its depth map ``head_<n>_depth.png`` in a folder beside it.

    Images go to ``out/images``, depth maps to ``out/depth``.
    """
    for folder in ("images", "depth"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for n in range(count):
        head = render_head(FIRST_KEY + n, size)
        Image.fromarray(head["image"]).save(out / "images" / f"head_{n}.png")
        Image.fromarray(head["depth"][..., 0]).save(out / "depth" / f"head_{n}_depth.png")
    print(f"{count} heads in {out}/images, their depth in {out}/depth")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tfds_builders.synthetic_heads.export")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write to")
    parser.add_argument("--count", type=int, default=4, help="how many heads")
    parser.add_argument("--size", type=int, default=256, help="side in pixels")
    options = parser.parse_args()
    export(options.out, options.count, options.size)


if __name__ == "__main__":
    main()
