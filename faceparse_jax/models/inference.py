"""Class probabilities by every route that networks and inputs allow."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from faceparse_jax.images.normalise import depth_to_u8, prepare
from faceparse_jax.models.routes import TRANSLATED
from faceparse_jax.models.system import System, where_rows

Variables = Mapping[str, Mapping[str, PyTree]]
"""Network name -> {'params', 'batch_stats'}."""


def inference_variables(params: Mapping, stats: Mapping) -> Variables:
    """Parameters and statistics by network.

    ``depth_translated`` stands for the depth parser with its second set of statistics, where
    there is one.
    """
    return {
        name: {"params": params["depth" if name == TRANSLATED else name], "batch_stats": own}
        for name, own in stats.items()
    }


def predict(
    variables: Variables, batch: Mapping[str, Array], *, system: System
) -> dict[str, Array]:
    """Class probabilities of every route that networks and inputs allow.

    Args:
        variables: by network name, as `inference_variables` gives them.
        batch: any of image u8 [b h w 3] and depth u8 or u16 [b h w 1] with has_depth [b].

    Returns:
        Probabilities [b h w k] by route: ``rgb`` (image), ``depth`` (real depth),
        ``depth_translated`` (translated depth) and ``fusion``, the mean of both parsers, on real
        depth where there is one, else on translated depth. The translated depth itself, u8
        [b h w 1], under ``translated``.
    """
    data = prepare(batch)
    out = {}

    def run(name, x, kept=""):
        return getattr(system, name).apply(variables[kept or name], x, train=False)

    def parse_depth(depth, kept=""):
        return jax.nn.softmax(run("depth", system.depth_input(depth), kept)[0])

    if system.rgb and "image" in data:
        out["rgb"] = jax.nn.softmax(run("rgb", data["image"])[0])
    if system.depth and "depth" in data:
        out["depth"] = parse_depth(data["depth"])
    if system.translator and "image" in data:
        translated = run("translator", data["image"])
        out["translated"] = depth_to_u8(translated)
        if system.depth:
            out[TRANSLATED] = parse_depth(translated, TRANSLATED * system.split_statistics)
    if "rgb" in out and ("depth" in out or TRANSLATED in out):
        second = out.get("depth", out.get(TRANSLATED))
        if "depth" in out and TRANSLATED in out:
            second = where_rows(data["has_depth"], out["depth"], out[TRANSLATED])
        fused = 0.5 * (out["rgb"] + second)
        if TRANSLATED not in out:
            fused = where_rows(data["has_depth"], fused, out["rgb"])
        out["fusion"] = fused
    return out


def predict_both_ways(
    variables: Variables,
    batch: Mapping[str, Array],
    *,
    system: System,
    mirror: tuple[int, ...],
) -> dict[str, Array]:
    """`predict`, averaged with that of the mirrored input, mirrored back.

    Left and right classes of the mirrored prediction change places.
    """
    flipped = {k: v if k == "has_depth" else jnp.flip(v, axis=2) for k, v in batch.items()}
    one = predict(variables, batch, system=system)
    other = predict(variables, flipped, system=system)
    channels = jnp.asarray(mirror)
    return {
        k: v if k == "translated" else 0.5 * (v + jnp.flip(other[k], axis=2)[..., channels])
        for k, v in one.items()
    }
