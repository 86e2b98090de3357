"""Trained networks, opened: those of a run's checkpoint, or those of a packed file."""

import dataclasses
import os
from typing import Any

import jax

from faceparse_jax import labels
from faceparse_jax.checkpoints import packed, store
from faceparse_jax.checkpoints.run_config import stored
from faceparse_jax.config import Config
from faceparse_jax.errors import InputError
from faceparse_jax.images.normalise import IMAGE_MEAN, IMAGE_STD
from faceparse_jax.models.inference import Variables, inference_variables
from faceparse_jax.models.system import System, build
from faceparse_jax.runtime import places
from faceparse_jax.runtime.places import Place


@dataclasses.dataclass(frozen=True)
class Trained:
    """Networks and what is known of them.

    Attributes:
        config: the run's config.
        meta: seed, step, code version, dataset and merge order of the training.
        scheme: the label scheme of the logits.
        params, batch_stats: by network; of a packed file without the discriminator.
        origin: what results say of where the networks lie: the workdir, or name and SHA-256 of
            a packed file; and the checkpoint.
        scores: what a packed file says of them, as `pack.score` gives it.
    """

    config: Config
    meta: dict[str, Any]
    scheme: labels.Scheme
    system: System
    params: dict[str, Any]
    batch_stats: dict[str, Any]
    origin: dict[str, Any]
    scores: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    @property
    def variables(self) -> Variables:
        """By network, as `models.inference.predict` takes them."""
        return inference_variables(self.params, self.batch_stats)


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A ResNet alone, with which parsers may begin.

    Attributes:
        config: whose key ``model.backbone`` says which ResNet it is.
        meta: as in `Trained`.
        params, batch_stats: as those of a parser, with the entry ``backbone`` alone.
        origin: as in `Trained`.
    """

    config: Config
    meta: dict[str, Any]
    params: dict[str, Any]
    batch_stats: dict[str, Any]
    origin: dict[str, Any]


def load_backbone(place: str | os.PathLike) -> Backbone | None:
    """The ResNet of a packed file that holds nothing else; None where a place has parsers.

    Raises:
        InputError: as `load_trained`.
    """
    place = places.place(place, "workdir")
    if not (places.is_packed(place) and _is_backbone(packed.read_label(place)["meta"])):
        return None
    label, tensors = packed.read(place)
    meta = label["meta"]
    config = stored(meta["config"], str(place), _its_code(meta))
    _check_source(meta, str(place))

    def shapes():
        params, stats = build(config, 1).init(jax.random.key(0), config.augment.crop)
        of = {"params": params, "batch_stats": stats}
        return {kind: {"backbone": tree["rgb"]["backbone"]} for kind, tree in of.items()}

    tree = packed.in_form(place, tensors, jax.eval_shape(shapes))
    return Backbone(config, meta, **tree, origin=_origin(place, label))


def load_trained(place: str | os.PathLike, which: str = "best") -> Trained:
    """Opens the ``best`` or the ``last`` checkpoint of a workdir, or a packed file.

    Raises:
        InputError: no such checkpoint or file, a file of another checkpoint, tensors that are
            damaged or not those of the config, a file with a backbone alone, or a bucket that
            cannot be read.
    """
    place = places.place(place, "workdir")
    return _of_file(place, which) if places.is_packed(place) else _of_run(place, which)


def _of_run(workdir: Place, which: str) -> Trained:
    meta = store.read_meta(workdir, which)
    run = described(meta, workdir, which)
    tree = store.load_inference(workdir, _shapes(run.config, run.system), which)
    return dataclasses.replace(run, **tree)


def described(meta: dict[str, Any], workdir: Place, which: str) -> Trained:
    """A checkpoint by its meta alone, without parameters and statistics.

    Raises:
        InputError: a config or a label scheme that this code does not have.
    """
    config, scheme, system = _described(meta, f"{workdir}, {which} checkpoint")
    origin = {"workdir": str(workdir), "checkpoint": which, "sha256": meta.get("sha256")}
    return Trained(config, meta, scheme, system, {}, {}, origin)


def _of_file(path: Place, which: str) -> Trained:
    label, tensors = packed.read(path)
    if which not in ("best", label["checkpoint"]):
        raise InputError(
            f"{path}, checkpoint {which}",
            f"a packed file, of the {label['checkpoint']} checkpoint alone",
            "a workdir, which has both",
            f"name the run's workdir, or leave {which} out",
        )
    config, scheme, system = _described(label["meta"], str(path))
    shapes = _shapes(config, system)
    # Of use to a training alone, so that it is left out of the file.
    system = dataclasses.replace(system, discriminator=None)
    shapes = {kind: _without_discriminator(tree) for kind, tree in shapes.items()}
    tree = packed.in_form(path, tensors, shapes)
    return Trained(
        config,
        label["meta"],
        scheme,
        system,
        **tree,
        origin=_origin(path, label),
        scores=label["scores"],
    )


def _origin(path: Place, label: packed.Label) -> dict[str, Any]:
    return {
        "network": path.stem,
        "checkpoint": label["checkpoint"],
        "sha256": label["sha256"],
    }


def _described(meta: dict[str, Any], where: str) -> tuple[Config, labels.Scheme, System]:
    """What a meta tells of the networks."""
    if _is_backbone(meta):
        raise InputError(
            where,
            "a backbone alone",
            "a parser",
            "begin a training with it, with --config.model.init and the name of this file",
        )
    _check_source(meta, where)
    its_code = _its_code(meta)
    config = stored(meta["config"], where, its_code)
    try:
        scheme = labels.from_data(meta["dataset"])
    except ValueError as error:
        known = f"one of {sorted(labels.SCHEMES)}, or an own one with all that belongs to it"
        raise InputError(where, str(error), known, its_code) from error
    return config, scheme, build(config, scheme.num_classes)


def _shapes(config: Config, system: System) -> dict[str, Any]:
    """Shapes of the networks' parameters and statistics."""

    def shapes():
        params, stats = system.init(jax.random.key(0), config.augment.crop)
        return {"params": params, "batch_stats": stats}

    return jax.eval_shape(shapes)


def _its_code(meta: dict[str, Any]) -> str:
    return f"use the code version that trained it, {meta['code_version']}"


def _is_backbone(meta: dict[str, Any]) -> bool:
    return meta.get("source", {}).get("holds") == "backbone"


def _check_source(meta: dict[str, Any], where: str) -> None:
    """Raises InputError where imported networks need another normalisation than ours."""
    if not (source := meta.get("source")):
        return
    own = {"mean": IMAGE_MEAN, "std": IMAGE_STD}
    its = {key: tuple(source.get(key) or ()) for key in own}
    if its != own:
        raise InputError(
            where,
            f"networks for photographs normalised by {its['mean']} and {its['std']}",
            f"{IMAGE_MEAN} and {IMAGE_STD}, by which this version normalises them",
            _its_code(meta),
        )


def _without_discriminator(tree: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tree.items() if name != "discriminator"}
