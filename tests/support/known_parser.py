"""A parser whose networks' answers are known, and photographs to give it."""

import json

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from faceparse_jax.images.depth import LEVELS
from faceparse_jax.images.normalise import normalise_image
from faceparse_jax.labels import CELEBAMASK_HQ
from faceparse_jax.models.system import System
from faceparse_jax.prediction.parser import Parser

SIZE = 32
COLOURS = np.array(CELEBAMASK_HQ.colours, np.uint8)
SKIN, HAIR, CLOTH = 1, 13, 18


class NearestColour(nn.Module):
    """Parses an image by the scheme's colours."""

    @nn.compact
    def __call__(self, x, train=False):
        colours = normalise_image(jnp.asarray(COLOURS)[None, None])[0, 0]
        return (-jnp.square(x[..., None, :] - colours).sum(-1) * 20,)


class NearIsSkin(nn.Module):
    """Parses depth: near is skin, far is hair, none is background."""

    @nn.compact
    def __call__(self, x, train=False):
        d = x[..., 0]
        kinds = {0: d == -1, SKIN: (d > -1) & (d < 0), HAIR: d >= 0}
        logits = [jnp.where(kinds[c], 9.0, 0) if c in kinds else d * 0 for c in range(19)]
        return (jnp.stack(logits, -1),)


class RedIsFar(nn.Module):
    """Translates an image to the depth of its red channel."""

    @nn.compact
    def __call__(self, x, train=False):
        return (x[..., :1] * 0.229 + 0.485) * 2 - 1


def make_parser(*names, size=SIZE, batch=4, levels=LEVELS):
    made = {"rgb": NearestColour, "depth": NearIsSkin, "translator": RedIsFar}
    system = System(**{name: made[name]() for name in names})
    variables = {name: {} for name in names}
    return Parser(system, variables, CELEBAMASK_HQ, size, {"step": 7}, batch, levels)


def bands(height, width):
    """A label of three bands, and the photo that has their colours."""
    label = np.zeros((height, width), np.uint8)
    label[height // 4 :] = HAIR
    label[:, width // 2 :] = CLOTH
    return label, COLOURS[label]


def depth_like(photo, value=60):
    """Depth as of a head in the lower half: `value` in the middle, a little more at the rim."""
    height, width = photo.shape[:2]
    rows, columns = np.indices((height, width))
    radius = np.hypot(rows / height - 0.75, columns / width - 0.5)
    depth = np.round(value + 40 * radius).astype(np.uint8)
    depth[: height // 2] = 0
    return depth


def names(folder):
    """The files of a folder."""
    return sorted(path.name for path in folder.iterdir())


def recorded(folder):
    """What the record of a folder of predictions holds, by stem."""
    return json.loads((folder / "predictions.json").read_text())["predictions"]
