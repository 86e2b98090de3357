"""From a run's checkpoint to one packed file and its model card."""

import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from faceparse_jax.checkpoints import packed
from faceparse_jax.checkpoints.card import (
    MARK,
    PLACES,
    File,
    call,
    card,
    imported_card,
    networks_told,
)
from faceparse_jax.checkpoints.trained import Trained, load_trained
from faceparse_jax.config import FIELDS, Config
from faceparse_jax.errors import InputError
from faceparse_jax.runtime import places, records
from faceparse_jax.runtime.places import Place


def pack(
    workdir: Place, which: str, scores: Sequence[pathlib.Path], out: pathlib.Path
) -> pathlib.Path:
    """Writes the networks of a checkpoint to one file, and its model card beside it.

    The same checkpoint and scores give the same bytes.

    Args:
        workdir: a run's folder, or a packed file that is to have other scores.
        which: ``best`` or ``last``.
        scores: JSON files that `evaluate` wrote of this checkpoint.
        out: the file, ``NAME.safetensors``; an earlier one of ours is replaced.

    Returns:
        The model card, ``NAME.md``.

    Raises:
        InputError: no such checkpoint, scores of another one, another file in the way, or a
            place that cannot be written.
    """
    check_out(out)
    trained = load_trained(workdir, which)
    if trained.config.train.translator_from and "init" not in trained.meta:
        raise InputError(
            str(workdir),
            "a translator of another run, of which an earlier version kept no record",
            "networks whose data are known",
            "train again with this version",
        )
    kept = [score(path, trained) for path in scores]
    label = {
        "meta": _meta(trained),
        "checkpoint": trained.origin["checkpoint"],
        "scores": kept or trained.scores,
    }
    own = [name for name in trained.system.networks() if name != "discriminator"]
    stats = {name: of for name, of in trained.batch_stats.items() if name != "discriminator"}
    tree = {"params": {name: trained.params[name] for name in own}, "batch_stats": stats}
    data = packed.contents(label, tree)
    return write_with_card(out, data)


def write_with_card(out: pathlib.Path, data: bytes) -> pathlib.Path:
    """Writes a packed file and its model card, whose path it returns.

    Raises:
        InputError: a place that cannot be written.
    """
    packed.write(out, data)
    target = out.with_suffix(".md")
    packed.write(target, card_of(out).encode())
    return target


def card_of(path: pathlib.Path) -> str:
    """The model card of a packed file, from what the file says.

    Raises:
        InputError: what `load_trained` refuses.
    """
    data, label = path.read_bytes(), packed.read_label(path)
    file = File(
        path.name,
        len(data),
        hashlib.sha256(data).hexdigest(),
        label["sha256"],
        label.get("precision", packed.HALF),
    )
    if "source" in label["meta"]:
        return imported_card(file.name, label, file.rows())
    trained = load_trained(path)
    ships = path.resolve() == packed.HEADS.resolve()
    where = "load()" if ships else f'load("{path.name}")'
    code = ("from faceparse_jax import load", "", f"parser = {where}", call(trained))
    return card(
        file.name, trained, f"This file holds {networks_told(trained)}.", code, file.rows(), ships
    )


def score(path: pathlib.Path, trained: Trained) -> dict[str, Any]:
    """What a packed file keeps of scores: on what they were counted, and each route's numbers.

    Raises:
        InputError: a file without scores, or scores of other networks.
    """
    found = records.read(
        path, "scores that --mode evaluate wrote", "check the path", provenance=dict, routes=dict
    )
    said, meta = found["provenance"], trained.meta
    wanted = {
        "seed": meta["seed"],
        "step": meta["step"],
        "checkpoint": trained.origin["checkpoint"],
        "trained_with": meta["code_version"],
        "trained_on": meta["dataset"],
        "sha256": meta.get("sha256"),
        "imported": meta.get("source"),
    }
    # Scores that are older than this entry have no checksum.
    others = [name for name, value in wanted.items() if said.get(name, value) != value]
    if others:
        told = ", ".join(f"{name} {json.dumps(said[name])[:40]}" for name in others)
        raise InputError(
            str(path),
            f"scores of other networks ({told})",
            f"those of the {wanted['checkpoint']} checkpoint of step {meta['step']}",
            "evaluate the checkpoint that is packed",
        )
    try:
        about = {name: said[name] for name in ("scored_on", "scored_in_scheme", "flip")}
        about |= {"scoring_resolution": said["scoring_resolution"], "leak": said.get("leak")}
        routes = {route: _numbers(of) for route, of in found["routes"].items()}
        return about | {"classes": list(found["classes"]), "routes": routes}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            str(path), f"no {error}", "scores that --mode evaluate wrote", "evaluate again"
        ) from error


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    kept = ("accuracy", "iou/mean")
    return {
        name: round(value, 4)
        for name, value in scores.items()
        if isinstance(value, float) and (name in kept or name.startswith("f1/"))
    }


def _meta(trained: Trained) -> dict[str, Any]:
    """The meta without what only the training reads, and without folders of its machine."""
    values = trained.config.model_dump()
    for key in PLACES:
        section, name = key.split(".")
        values[section][name] = FIELDS[key].default
    config = Config.model_validate(values).to_dict()
    return {name: value for name, value in trained.meta.items() if name != "seen"} | {
        "config": config
    }


def check_out(out: pathlib.Path) -> None:
    """Raises InputError where a name is none of a packed file, or other files are in its way."""
    if not places.is_packed(out):
        raise InputError(
            f"--out {out}",
            "a name of another kind",
            f"one that ends in {places.PACKED}",
            f"add --out {out.name or 'networks'}{places.PACKED}",
        )
    target = out.with_suffix(".md")
    for path, ours in ((out, _is_ours), (target, lambda card: MARK in card.read_text("utf8"))):
        try:
            fits = not path.exists() or ours(path)
        except (InputError, OSError, UnicodeDecodeError):
            fits = False
        if not fits:
            raise InputError(
                str(path),
                "another file",
                "none, or one of --mode export or import",
                "move it, or name another",
            )


def _is_ours(path: pathlib.Path) -> bool:
    packed.read_label(path)
    return True
