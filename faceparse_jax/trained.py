"""A trained run, opened for evaluation and prediction: networks and their variables."""

import dataclasses
import pathlib
from typing import Any

import jax
import ml_collections

from configs import base
from faceparse_jax import checkpoints, from_config, labels, provenance
from faceparse_jax.errors import InputError
from faceparse_jax.state import Nets, Variables, inference_variables, init_state


@dataclasses.dataclass(frozen=True)
class Trained:
    """Networks of a checkpoint and what the checkpoint says of itself.

    Attributes:
        config: the run's config.
        meta: seed, step, code version, dataset and merge order of the training.
        scheme: the label scheme of the logits.
        variables: by network, as `inference.predict_step` takes them.
    """

    config: ml_collections.FrozenConfigDict
    meta: dict[str, Any]
    scheme: labels.Scheme
    nets: Nets
    variables: Variables


def load_trained(workdir: pathlib.Path | str, which: str = "best") -> Trained:
    """Opens the ``best`` or the ``last`` checkpoint of a workdir.

    Raises:
        InputError: no such checkpoint, or its tensors are not those of its config.
    """
    workdir = pathlib.Path(workdir)
    meta = checkpoints.read_meta(workdir, which)
    # Keys that are younger than the run have the value that changes nothing.
    stored = base.get_config()
    unknown = provenance.flat(meta["config"]).keys() - provenance.flat(stored.to_dict()).keys()
    if unknown:
        raise InputError(
            f"{workdir}, {which} checkpoint",
            f"a config with {', '.join(sorted(unknown))}",
            "keys of configs/base.py",
            f"use the code version that trained it, {meta.get('code_version')}",
        )
    stored.update(meta["config"])
    config = ml_collections.FrozenConfigDict(stored)
    scheme = labels.scheme(meta["dataset"]["scheme"])
    nets = from_config.nets(config, scheme.num_classes)

    def shapes():
        state = init_state(
            jax.random.key(0),
            nets=nets,
            txs=from_config.optimizers(config),
            size=config.augment.crop,
            ema=False,
        )
        return {"params": state.params, "batch_stats": state.batch_stats}

    tree = checkpoints.load_inference(workdir, jax.eval_shape(shapes), which)
    variables = inference_variables(tree["params"], tree["batch_stats"])
    return Trained(config, meta, scheme, nets, variables)
