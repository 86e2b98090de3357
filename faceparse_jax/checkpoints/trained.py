"""A trained run, opened for evaluation and prediction: networks and their variables."""

import dataclasses
import os
from typing import Any

import jax

from faceparse_jax import labels
from faceparse_jax.checkpoints import store
from faceparse_jax.checkpoints.run_config import stored
from faceparse_jax.config import Config
from faceparse_jax.errors import InputError
from faceparse_jax.models.inference import Variables, inference_variables
from faceparse_jax.models.system import System, build
from faceparse_jax.runtime import places


@dataclasses.dataclass(frozen=True)
class Trained:
    """Networks of a checkpoint and what the checkpoint says of itself.

    Attributes:
        config: the run's config.
        meta: seed, step, code version, dataset and merge order of the training.
        scheme: the label scheme of the logits.
        variables: by network, as `models.inference.predict` takes them.
    """

    config: Config
    meta: dict[str, Any]
    scheme: labels.Scheme
    system: System
    variables: Variables


def load_trained(workdir: str | os.PathLike, which: str = "best") -> Trained:
    """Opens the ``best`` or the ``last`` checkpoint of a workdir.

    Raises:
        InputError: no such checkpoint, its tensors are not those of its config, or a bucket that
            cannot be read.
    """
    workdir = places.place(workdir, "workdir")
    meta = store.read_meta(workdir, which)
    where = f"{workdir}, {which} checkpoint"
    its_code = f"use the code version that trained it, {meta['code_version']}"
    config = stored(meta["config"], where, its_code)
    name = meta["dataset"].get("scheme")
    if name not in labels.SCHEMES:
        raise InputError(
            where, f"the label scheme {name!r}", f"one of {sorted(labels.SCHEMES)}", its_code
        )
    scheme = labels.scheme(name)
    system = build(config, scheme.num_classes)

    def shapes():
        params, stats = system.init(jax.random.key(0), config.augment.crop)
        return {"params": params, "batch_stats": stats}

    tree = store.load_inference(workdir, jax.eval_shape(shapes), which)
    variables = inference_variables(tree["params"], tree["batch_stats"])
    return Trained(config, meta, scheme, system, variables)
