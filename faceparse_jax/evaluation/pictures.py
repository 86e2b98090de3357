"""Examples of a batch beside their truth and every prediction, as one picture."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool
from PIL import Image

from faceparse_jax.data.batches import Batch
from faceparse_jax.images.draw import Picture, colour_depth, colourise, contact_sheet, resized
from faceparse_jax.labels import IGNORE, Scheme
from faceparse_jax.models.inference import Variables
from faceparse_jax.models.routes import ROUTES
from faceparse_jax.runtime import places, sharding
from faceparse_jax.runtime.places import Place


def write_picture(path: Place, picture: Picture) -> None:
    """Writes a picture as PNG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    places.write(path, file.getvalue())


def first_examples(
    eval_step: Callable, variables: Variables, batches: Iterator[Batch], mesh: Mesh, count: int
) -> tuple[Batch, dict[str, np.ndarray]]:
    """The first examples of this host, and what the networks say of them.

    Every process calls it. It takes the program that counts, since another would have to be
    compiled.

    Args:
        eval_step: of `counting.make_eval_step`.
        batches: this host's rows of a split.
        count: at most so many examples.

    Returns:
        Their rows, the labels on one canvas, and their label maps and translated depth as
        `scoring.eval_step` gives them.
    """
    heads: list[Batch] = []
    said: list[dict[str, np.ndarray]] = []
    for batch in batches:
        inputs = {key: value for key, value in batch.items() if key != "index"}
        _, maps = eval_step(variables, sharding.shard_padded(inputs, mesh))
        keep = np.flatnonzero(batch["mask"])
        heads.append({key: value[keep] for key, value in batch.items()})
        said.append({key: value[keep] for key, value in sharding.own_rows(maps).items()})
        if len(heads) * len(batch["mask"]) >= count:  # at the same batch on every host
            break
    sides = np.max([head["label"].shape[1:3] for head in heads], axis=0)
    for head in heads:
        grown = [(0, big - own) for big, own in zip(sides, head["label"].shape[1:3], strict=True)]
        around = [(0, 0), *grown]
        head["label"] = np.pad(head["label"], around, constant_values=IGNORE)
    return _joined(heads, count), _joined(said, count)


def _joined(parts: Sequence[Mapping[str, np.ndarray]], count: int) -> dict[str, np.ndarray]:
    return {key: np.concatenate([part[key] for part in parts])[:count] for key in parts[0]}


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
        out: of `scoring.eval_step`: label maps [b h w] by route, and ``translated``.
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
            columns[told.column] = labels(out[route])
            if route == "depth":
                columns[told.column] = _where(has_depth, columns[told.column])
    captions = [f"#{index}" for index in batch["index"]] if "index" in batch else None
    return contact_sheet(list(zip(*columns.values(), strict=True)), list(columns), captions)


def _where(rows: Bool[np.ndarray, " b"], pictures: Sequence[Picture]) -> list[Picture | None]:
    return [picture if there else None for there, picture in zip(rows, pictures, strict=True)]
