"""Networks of an earlier training, with which a new one begins."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from faceparse_jax import labels
from faceparse_jax.checkpoints import packed
from faceparse_jax.checkpoints.state import TrainState
from faceparse_jax.checkpoints.trained import Backbone, Trained, load_backbone, load_trained
from faceparse_jax.config import HEADS, Config
from faceparse_jax.errors import InputError
from faceparse_jax.labels import Scheme, conversion
from faceparse_jax.models.routes import TRANSLATED
from faceparse_jax.models.system import System, translator_levels
from faceparse_jax.runtime import records
from faceparse_jax.runtime.sharding import is_lead

_CLASSIFIERS = ("head", "head16", "head32")
_PARSERS = ("rgb", "depth")
_FORM = {
    "rgb": ("backbone", "width"),
    "depth": ("backbone", "width", "depth_channels"),
    "translator": ("translator_features",),
    "discriminator": ("discriminator_features",),
}
"""The keys of the section ``model`` by which the shapes of a network's parameters go."""


@dataclasses.dataclass(frozen=True)
class Taken:
    """What a run takes over.

    Attributes:
        params, batch_stats: of the networks that are taken, by name, as `TrainState` has them; of
            a network that is taken in part, the entries that are.
        record: what a meta says of them: for each origin its networks, name, checksum, code
            version and step, and the datasets that they learned from.
    """

    params: dict[str, PyTree]
    batch_stats: dict[str, PyTree]
    record: list[dict[str, Any]]


def taken(config: Config, system: System, like: TrainState, scheme: Scheme) -> Taken | None:
    """What ``model.init`` and ``train.translator_from`` name; None where both are empty.

    The translator of the second one goes before that of the first one. Tells on standard error
    what a run takes of ``model.init``.

    Args:
        system: the networks of the run.
        like: the shapes of its fresh state.
        scheme: of its labels.

    Raises:
        InputError: networks that cannot be read or have another form, or labels that do not
            become those of the run.
    """
    found, frozen = Taken({}, {}, []), bool(config.train.translator_from)
    if config.model.init:
        place = packed.shipped() if config.model.init == HEADS else config.model.init
        if backbone := load_backbone(place):
            _take_backbone(found, backbone, config, system, like)
        else:
            _take_networks(found, load_trained(place), config, system, like, scheme)
    if frozen:
        source = load_trained(config.train.translator_from, "last")
        its, own = (_translator_form(of) for of in (source, like))
        if its != own:
            raise InputError(
                f"config.train.translator_from {config.train.translator_from}",
                "a translator of another form" if its else "no translator",
                "one with this config's crop, size and model.translator_features",
                "train it with the same config and --config.loss.translation=10 alone",
            )
        _take(found, source, ["translator"], like, scheme)
    return found if found.record else None


def _take_networks(
    found: Taken, source: Trained, config: Config, system: System, like: TrainState, scheme: Scheme
) -> None:
    """Takes every network that both sides have."""
    frozen = bool(config.train.translator_from)
    wanted = [name for name in system.networks() if not (frozen and name == "translator")]
    names = [name for name in wanted if name in source.params]
    _check_form(config, system, scheme, source, names)
    _take(found, source, names, like, scheme)
    _tell(config.model.init, source, scheme, wanted)


def _take_backbone(
    found: Taken, source: Backbone, config: Config, system: System, like: TrainState
) -> None:
    """Takes a ResNet for the trunk of each parser.

    A depth parser of one channel gets the sum of the first kernels over their three channels,
    which gives for one channel what they give for three equal ones.
    """
    names = [name for name in _PARSERS if name in system.networks()]
    what = f"config.model.init {config.model.init}"
    if not names:
        raise InputError(
            what,
            "a backbone alone",
            "networks that the loss needs, " + " or ".join(system.networks()),
            "name other networks, or leave model.init out",
        )
    own = (config.model.backbone, config.model.width)
    its = (source.config.model.backbone, source.config.model.width)
    if own != its:
        raise InputError(
            what,
            f"a backbone with model.backbone={its[0]}, model.width={its[1]}",
            "one of the form that this config gives",
            f"set --config.model.backbone={its[0]} --config.model.width={its[1]}",
        )
    summed = jax.tree.map(lambda x: x, source.params)
    stem = summed["backbone"]["stem"]["conv"]
    stem["kernel"] = stem["kernel"].sum(axis=2, keepdims=True)
    for name in names:
        one = name == "depth" and config.model.depth_channels == 1
        found.params[name] = summed if one else source.params
    for kept in like.batch_stats:
        if ("depth" if kept == TRANSLATED else kept) in names:
            found.batch_stats[kept] = source.batch_stats
    found.record.append(_recorded([f"backbone of {name}" for name in names], source))
    if is_lead():
        print(
            f"note: the training begins with the backbone of {config.model.init} in "
            f"{' and '.join(names)}; all else is fresh",
            file=sys.stderr,
        )


def begun(state: TrainState, found: Taken) -> TrainState:
    """A fresh state with the networks that are taken; their running average begins as a copy."""
    whole = {
        "params": _renewed(state.params, found.params),
        "batch_stats": _renewed(state.batch_stats, found.batch_stats),
    }
    # The step overwrites a state, so that it must share memory with nothing.
    new = jax.tree.map(jnp.copy, whole)
    average = jax.tree.map(jnp.copy, whole) if state.ema else {}
    return state.replace(**new, ema=average)


def _renewed(fresh: Mapping[str, PyTree], found: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """Networks with the entries that were found, and with their fresh ones elsewhere."""
    return {name: {**own, **found.get(name, {})} for name, own in fresh.items()}


def _take(
    found: Taken, source: Trained, names: Sequence[str], like: TrainState, scheme: Scheme
) -> None:
    """Adds networks of a source, and what is known of them, to what is found."""
    for name in names:
        params = source.params[name]
        if name in _PARSERS and source.scheme != scheme:
            params = _in_classes(params, conversion.leading_classes(source.scheme, scheme))
        found.params[name] = params
    for kept in like.batch_stats:
        owner = "depth" if kept == TRANSLATED else kept
        if owner in names:
            statistics = source.batch_stats.get(kept, source.batch_stats[owner])
            found.batch_stats[kept] = jax.tree.map(np.array, statistics)
    found.record.append(_recorded(names, source))


def _recorded(names: Sequence[str], source: Trained | Backbone) -> dict[str, Any]:
    """What a meta says of what was taken of a source."""
    sha256 = source.origin["sha256"]
    if isinstance(sha256, dict):  # of a checkpoint, by item
        sha256 = sha256.get("average", sha256.get("inference"))
    data = source.meta["dataset"]
    earlier = [name for of in source.meta.get("init") or () for name in of["trained_on"]]
    return {
        "networks": list(names),
        "network": source.origin.get("network", "a run"),
        "sha256": sha256,
        "code_version": source.meta["code_version"],
        "step": source.meta["step"],
        "trained_on": list(dict.fromkeys([f"{data['name']}/{data['config']}", *earlier])),
    }


def _in_classes(params: Mapping[str, Any], classes: Sequence[int]) -> dict[str, Any]:
    """A parser that has the logits of these of its classes alone, in this order.

    A class of -1 is a new one, whose logit begins as 0 everywhere.
    """
    new, index = dict(params), np.array(classes)
    for head in _CLASSIFIERS:
        of_head = params[head]["classify"]
        rows = {
            name: np.where(index < 0, 0, np.asarray(of)[..., index]).astype(of.dtype)
            for name, of in of_head.items()
        }
        new[head] = params[head] | {"classify": rows}
    return new


def _check_form(
    config: Config, system: System, scheme: Scheme, source: Trained, names: Sequence[str]
) -> None:
    """Raises InputError where networks of a source are not what a config asks for."""
    what = f"config.model.init {config.model.init}"
    if not names:
        raise InputError(
            what,
            f"no network but {', '.join(source.params)}",
            f"one that the loss needs, {' or '.join(system.networks())}",
            "name other networks, or leave model.init out",
        )
    keys = [f"model.{key}" for key in dict.fromkeys(key for name in names for key in _FORM[name])]
    its, own = (records.flat(of.to_dict()) for of in (source.config, config))
    if "translator" in names and source.system.translator.levels != system.translator.levels:
        # A crop of this config's size is nearer to what is wanted than the other config's.
        if crop := _crop_of(config, source.system.translator.levels):
            its["augment.crop"] = crop
        keys += ["augment.crop"] if crop else ["data.size", "augment.crop"]
    if other := [f"{key}={its[key]}" for key in keys if its[key] != own[key]]:
        raise InputError(
            what,
            f"networks with {', '.join(other)}",
            "networks of the form that this config gives",
            "set " + " ".join(f"--config.{each}" for each in other),
        )
    known = not labels.is_own(source.scheme) and not labels.is_own(scheme)
    exists = conversion.exists(source.scheme, scheme)
    if set(names) & set(_PARSERS) and known and not exists:
        raise InputError(
            what,
            f"networks for the classes of {source.scheme.name}",
            f"classes that become those of {scheme.name} by merging",
            "name networks of finer classes, or leave model.init out",
        )


def _crop_of(config: Config, levels: int) -> int:
    """The largest crop, up to the config's, at which a translator has these levels; 0 for none."""
    sides = range(config.augment.crop, 0, -1)
    fit = (side for side in sides if translator_levels(side, config.data.size) == levels)
    return next(fit, 0)


def _translator_form(of: Trained | TrainState) -> PyTree:
    """Names, shapes and types of a translator's parameters and statistics; None without one."""
    if "translator" not in of.params:
        return None
    trees = (of.params["translator"], of.batch_stats["translator"])
    return jax.tree.map(lambda x: (x.shape, str(x.dtype)), trees)


def _tell(where: str, source: Trained, scheme: Scheme, wanted: Sequence[str]) -> None:
    if not is_lead():
        return
    names = [name for name in wanted if name in source.params]
    told = f"note: the training begins with {', '.join(names)} of {where}"
    if source.scheme != scheme:
        told += f", and classes of {source.scheme.name} become those of {scheme.name}"
        rows = conversion.leading_classes(source.scheme, scheme)
        if new := [name for name, row in zip(scheme.classes, rows, strict=True) if row < 0]:
            told += f" but for {', '.join(new)}, which begin anew"
    if fresh := [name for name in wanted if name not in source.params]:
        told += f"; fresh: {', '.join(fresh)}"
    if unused := [name for name in source.params if name not in wanted]:
        told += f"; not needed: {', '.join(unused)}"
    print(told, file=sys.stderr)
