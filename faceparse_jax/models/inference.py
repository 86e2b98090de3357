"""Class probabilities by every route that networks and inputs allow."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.scipy.special import rel_entr
from jaxtyping import Array, Float, PyTree

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
        fused = 0.5 * (out["rgb"] + of_depth_parser(out, batch))
        if TRANSLATED not in out:
            fused = where_rows(data["has_depth"], fused, out["rgb"])
        out["fusion"] = fused
    return out


def of_depth_parser(
    out: Mapping[str, Array], batch: Mapping[str, Array]
) -> Float[Array, "b h w k"]:
    """Probabilities on real depth where a row has some, else on translated depth.

    Args:
        out: what `predict` gives, with ``depth`` or ``depth_translated``.
        batch: as for `predict`.
    """
    if "depth" in out and TRANSLATED in out:
        return where_rows(batch["has_depth"], out["depth"], out[TRANSLATED])
    return out["depth"] if "depth" in out else out[TRANSLATED]


def disagreement(one: Float[Array, "*s k"], other: Float[Array, "*s k"]) -> Float[Array, "*s"]:
    """Jensen-Shannon divergence of two parsers' probabilities in bits, 0 to 1.

    It is 0 where both give every class the same probability, and 1 where no class has a
    probability from both.
    """
    mean = 0.5 * (one + other)
    nats = 0.5 * sum(rel_entr(p, mean).sum(-1) for p in (one, other))
    return jnp.clip(nats / jnp.log(2.0), 0, 1)


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
