"""Examples of a batch beside their truth and every prediction, as one picture."""

import io
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Bool
from PIL import Image

from faceparse_jax.images.draw import Picture, colour_depth, colourise, contact_sheet, resized
from faceparse_jax.labels import Scheme
from faceparse_jax.models.inference import Variables
from faceparse_jax.models.routes import ROUTES
from faceparse_jax.runtime import places
from faceparse_jax.runtime.places import Place


def write_picture(path: Place, picture: Picture) -> None:
    """Writes a picture as PNG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    places.write(path, file.getvalue())


def examples_picture(
    predict: Callable,
    variables: Variables,
    batch: Mapping[str, np.ndarray],
    scheme: Scheme,
    truth_scheme: Scheme | None = None,
) -> Picture:
    """Image, depth, truth and every prediction of a few examples, side by side."""
    inputs = {k: batch[k] for k in ("image", "depth", "has_depth")}
    out = jax.device_get(predict(variables, inputs))
    return training_picture(batch, out, scheme, len(batch["mask"]), truth_scheme)


def training_picture(
    batch: Mapping[str, np.ndarray],
    out: Mapping[str, np.ndarray],
    scheme: Scheme,
    rows: int,
    truth_scheme: Scheme | None = None,
) -> Picture:
    """Examples of a batch, one in each row, with their truth and every prediction.

    Args:
        batch: ``image`` u8 [b h w 3], ``depth`` u8 [b h w 1], ``has_depth`` [b] and
            ``label`` u8 [b hl wl]; rows outside ``mask`` [b] are left out.
        out: of `models.inference.predict`: probabilities [b h w k] by route, and ``translated``.
        scheme: of the predictions.
        rows: at most so many examples.
        truth_scheme: of the labels; None for `scheme`.
    """
    mask = batch.get("mask", np.ones(len(batch["image"]), bool))
    keep = np.flatnonzero(mask)[:rows]
    batch, out = ({k: v[keep] for k, v in arrays.items()} for arrays in (batch, out))
    side = max(batch["image"].shape[1:3])
    side = min(side * -(-128 // side), 256)

    def depths(depth):
        if depth.dtype == np.uint16:
            depth = (depth >> 8).astype(np.uint8) | (depth > 0)
        return [resized(colour_depth(d[..., 0]), side) for d in depth]

    def labels(label, scheme=scheme):
        return [resized(colourise(x, scheme), side) for x in label]

    truth = batch["label"]
    if "size" in batch:
        truth = [
            x[:height, :width] for x, (height, width) in zip(truth, batch["size"], strict=True)
        ]

    has_depth = batch["has_depth"]
    columns = {
        "image": [resized(image, side) for image in batch["image"]],
        "depth": _where(has_depth, depths(batch["depth"])),
        "truth": labels(truth, truth_scheme or scheme),
    }
    for route, told in ROUTES.items():
        if route == "fusion" and "translated" in out:
            columns["translated depth"] = depths(out["translated"])
        if route in out:
            columns[told.column] = labels(out[route].argmax(-1).astype(np.uint8))
            if route == "depth":
                columns[told.column] = _where(has_depth, columns[told.column])
    captions = [f"#{index}" for index in batch["index"]] if "index" in batch else None
    return contact_sheet(list(zip(*columns.values(), strict=True)), list(columns), captions)


def _where(rows: Bool[np.ndarray, " b"], pictures: Sequence[Picture]) -> list[Picture | None]:
    return [picture if there else None for there, picture in zip(rows, pictures, strict=True)]
