"""The training step of small networks, a batch that they can learn, and how states compare."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from faceparse_jax.config import TERMS, default, parse
from faceparse_jax.data.augment import Augment
from faceparse_jax.models.bisenet import BiSeNet
from faceparse_jax.models.pix2pix import PatchGAN, UNet
from faceparse_jax.models.system import System, needed
from faceparse_jax.runtime import sharding
from faceparse_jax.training import objective
from faceparse_jax.training.optim import gan_direction, join, parser_direction, rate
from faceparse_jax.training.setup import init_state
from faceparse_jax.training.step import train_step
from tests.support.networks import SmallParser

CLASSES, SIZE, ROWS = 5, 32, 8
FULL = {"rgb": 1.0, "depth": 1.0, "e2e": 1.0, "mutual": 1.0, "translation": 10.0}
FULL["adversarial"] = 0.1
AUGMENT = Augment(crop=SIZE, mirror=(0, 2, 1, 3, 4), scales=(0.75, 1.0, 1.5), flip=0.5, jitter=0.3)
KEY = jax.random.key(1)


def modules(real, dtype):
    """Constructors by name; the run's own networks where `real`."""

    def parser():
        return BiSeNet(CLASSES, width=0.125, dtype=dtype) if real else SmallParser(CLASSES, dtype)

    return {
        "rgb": parser,
        "depth": parser,
        "translator": lambda: UNet(levels=3 if real else 2, features=8, dtype=dtype),
        "discriminator": lambda: PatchGAN(features=8, dtype=dtype),
    }


def make_batch(with_depth=ROWS, seed=0):
    rng = np.random.default_rng(seed)
    label = np.kron(rng.integers(0, CLASSES, (ROWS, 4, 4)), np.ones((8, 8), int)).astype(np.uint8)
    has_depth = np.arange(ROWS) < with_depth
    depth = np.where(has_depth[:, None, None] & (label > 0), 60 + 30 * label, 0)
    return {
        "image": np.stack([40 * label, 255 - 40 * label, 20 * label], -1).astype(np.uint8),
        "depth": depth[..., None].astype(np.uint8),
        "label": label,
        "has_depth": has_depth,
    }


def loss_of(weights, **forms):
    """The loss with these weights, every other term at 0, and mutual learning over pixels."""
    config = default()
    forms = {"mutual_mean": "pixels"} | forms
    config.update({"loss": dict.fromkeys(TERMS, 0.0) | dict(weights) | forms})
    return objective.build(parse(config))


def make(weights, *, real=False, ema=0.0, dtype=jnp.float32, split=False, **forms):
    """A fresh state and the step as a function of (state, batch, key)."""
    loss = loss_of(weights, **forms)
    system = System(
        **{name: modules(real, dtype)[name]() for name in needed(loss.weights)},
        depth_channels=1,
        split_statistics=split,
    )
    parser = parser_direction("sgd", momentum=0.9, weight_decay=5e-4, head_factor=10.0)
    peaks = {"rgb": 0.01, "depth": 0.01, "translator": 2e-3, "discriminator": 1e-3}
    directions = {"rgb": parser, "depth": parser}
    optimizer = join(
        {name: directions.get(name, gan_direction()) for name in system.networks()},
        {name: rate("poly", peaks[name], 50) for name in system.networks()},
    )
    parts = {"system": system, "optimizer": optimizer}
    init = functools.partial(init_state, **parts, size=SIZE, ema=ema > 0)
    step = functools.partial(train_step, **parts, loss=loss, augment=AUGMENT, ema=ema)
    return init, step, system


def start(weights, **options):
    """The fresh state and the compiled step."""
    init, step, system = make(weights, **options)
    return jax.jit(init)(jax.random.key(0)), jax.jit(step), system


def over(devices, step):
    """The step compiled for a mesh, as the run compiles it; also a state's sharding."""
    mesh = sharding.make_mesh(devices)
    whole = sharding.replicated(mesh)
    placed = {
        "in_shardings": (whole, sharding.by_row(mesh), whole),
        "out_shardings": (whole, whole),
    }
    return jax.jit(step, **placed), whole


def same(a, b):
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in leaves)
