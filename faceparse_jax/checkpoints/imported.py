"""Public weights of PyTorch as a packed file, which stands for a workdir."""

import dataclasses
import hashlib
import pathlib
from typing import Any

from faceparse_jax import labels
from faceparse_jax.checkpoints import packed, torch_files
from faceparse_jax.checkpoints.pack import check_out, write_with_card
from faceparse_jax.config import Config
from faceparse_jax.errors import InputError
from faceparse_jax.models.torch_weights import Converted, from_torch_state
from faceparse_jax.runtime import provenance

_RGB_ALONE = {"depth": 0.0, "e2e": 0.0, "mutual": 0.0, "translation": 0.0}


@dataclasses.dataclass(frozen=True)
class Imported:
    """What was imported.

    Attributes:
        converted: the weights.
        unread: entries of the file beside the network.
        card: the model card.
    """

    converted: Converted
    unread: tuple[str, ...]
    card: pathlib.Path


def import_weights(weights: pathlib.Path, out: pathlib.Path) -> Imported:
    """Writes the networks of a PyTorch file to a packed file, and its model card beside it.

    A BiSeNet becomes the RGB parser. A ResNet becomes a backbone, with which a training may
    begin. Values keep single precision. The meta has an entry ``source``: which project the
    weights come from, the file and its SHA-256, licences, and the normalisation of photographs. Its
    entry ``unused`` names the tensors and entries of the file that were not used.

    Args:
        weights: a file of `torch.save` or of safetensors.
        out: the file, ``NAME.safetensors``; an earlier one of ours is replaced.

    Raises:
        InputError: a file that cannot be read or asks for more than tensors, weights of another
            network or for other classes, another file in the way, or a place that cannot be
            written.
    """
    check_out(out)
    state, unread = torch_files.read(weights)
    converted = from_torch_state(state, str(weights))
    _check_form(converted, weights)
    label = {"meta": _meta(converted, unread, weights), "checkpoint": "best", "scores": []}
    params, stats = converted.params, converted.batch_stats
    if converted.layout.scheme:
        params, stats = {"rgb": params}, {"rgb": stats}
    tree = {"params": params, "batch_stats": stats}
    data = packed.contents(label, tree, packed.SINGLE)
    return Imported(converted, unread, write_with_card(out, data))


def _check_form(converted: Converted, weights: pathlib.Path) -> None:
    """Raises InputError where weights are for other classes or inputs than the public ones."""
    layout = converted.layout
    wanted = {"input channels": 3}
    if layout.scheme:
        wanted["classes"] = labels.scheme(layout.scheme).num_classes
    own = {"input channels": converted.channels, "classes": converted.classes}
    for what, number in wanted.items():
        if own[what] != number:
            raise InputError(
                str(weights),
                f"{own[what]} {what}",
                f"{number}, as the public weights of {layout.name} have",
                "name the public file, since nothing in another one says what its "
                f"{what} stand for",
            )


def _meta(converted: Converted, unread: tuple[str, ...], weights: pathlib.Path) -> dict[str, Any]:
    layout = converted.layout
    name, config = layout.trained_on.split("/")
    size = layout.size if layout.scheme else Config().data.size
    own = Config().replaced(
        data={"name": "celebamask_hq_d", "config": "bisenet", "size": size},
        model={"backbone": converted.backbone},
        loss=_RGB_ALONE,
        eval={"label_size": size},
    )
    return {
        "config": own.to_dict(),
        "dataset": {"name": name, "config": config}
        | ({"scheme": layout.scheme, "merge_order": "bisenet"} if layout.scheme else {}),
        # Of the original training nothing is known.
        "step": 0,
        "seed": 0,
        "best": None,
        "init": None,
        "code_version": provenance.code_version(),
        "libraries": provenance.libraries(),
        "source": {
            "holds": "parser" if layout.scheme else "backbone",
            "project": f"{layout.name} (and of {layout.also})" if layout.also else layout.name,
            "file": weights.name,
            "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
            "code_licence": layout.code_licence,
            "licence": layout.licence,
            "mean": layout.mean,
            "std": layout.std,
        },
        "unused": [*converted.unused, *unread],
    }
