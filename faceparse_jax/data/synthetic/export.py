"""Writes rendered heads as image files, to try prediction on.

    python -m faceparse_jax.data.synthetic.export --out DIR [--count 4] [--size 256] [--sheet]

Their keys lie beyond those of every prepared set, so no network has seen them.
"""

import argparse
import math
import pathlib
import sys

import numpy as np
from PIL import Image

from faceparse_jax.data.synthetic import render_head
from faceparse_jax.errors import InputError
from faceparse_jax.runtime import interrupts, machine

FIRST_KEY = 1_000_000


def export(out: pathlib.Path, count: int, size: int, sheet: bool = False) -> None:
    """Writes ``images/head_<n>.png`` and ``depth/head_<n>_depth.png``.

    Args:
        sheet: also write ``sheet.png``, all images in rows of equal length.

    Raises:
        InputError: a size that no head can have.
    """
    pictures = []
    for n in range(count):
        head = render_head(FIRST_KEY + n, size)
        pictures.append(head["image"])
        with interrupts.held():  # the first head is compiled, which would take long to wait for
            for folder in ("images", "depth"):
                (out / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(head["image"]).save(out / "images" / f"head_{n}.png")
            Image.fromarray(head["depth"][..., 0]).save(out / "depth" / f"head_{n}_depth.png")
    if sheet:
        columns = math.ceil(math.sqrt(count))
        pictures += [np.full_like(pictures[0], 255)] * (-count % columns)
        rows = np.stack(pictures).reshape(-1, columns, size, size, 3).swapaxes(1, 2)
        with interrupts.held():
            Image.fromarray(rows.reshape(-1, columns * size, 3)).save(out / "sheet.png")
    print(f"{count} heads in {out}/images, their depth in {out}/depth")


def main() -> int:
    """Runs the command and returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m faceparse_jax.data.synthetic.export")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write to")
    parser.add_argument("--count", type=int, default=4, help="how many heads")
    parser.add_argument("--size", type=int, default=256, help="side in pixels")
    parser.add_argument("--sheet", action="store_true", help="also one picture of all")
    options = parser.parse_args()
    if options.count < 1:
        parser.error(f"found --count {options.count}, expected at least one head")
    try:
        export(machine.expanded(options.out), options.count, options.size, options.sheet)
    except (OSError, InputError) as error:
        if isinstance(error, OSError):
            error = InputError(
                f"--out {options.out}",
                error.strerror or str(error),
                "a folder that can be written",
                "choose another --out",
            )
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    interrupts.run(main)
