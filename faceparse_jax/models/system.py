"""Class probabilities from one set of networks, by every route that the inputs allow."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from faceparse_jax.checkpoints.state import Nets, Variables
from faceparse_jax.images.normalise import depth_to_u8, prepare


def where_rows(rows: Bool[Array, " b"], a: PyTree, b: PyTree) -> PyTree:
    """Rows [b h w c] of `a` where the flag holds, else of `b`."""
    return jax.tree.map(lambda x, y: jnp.where(rows[:, None, None, None], x, y), a, b)


def predict_step(variables: Variables, batch: dict[str, Array], *, nets: Nets) -> dict[str, Array]:
    """Class probabilities of every route that networks and inputs allow.

    Args:
        variables: by network name, as `TrainState.variables` gives them.
        batch: any of image u8 [b h w 3] and depth u8 or u16 [b h w 1] with has_depth [b].

    Returns:
        Probabilities [b h w k] under ``rgb`` (image), ``depth`` (real depth),
        ``depth_translated`` (translated depth) and ``fusion``: the mean of both
        parsers, on real depth where there is one, else on translated depth. The
        translated depth itself, u8 [b h w 1], under ``translated``.
    """
    data = prepare(batch)
    out = {}

    def run(name, *inputs, parameters=None):
        return getattr(nets, name).apply(variables[parameters or name], *inputs, train=False)

    def parse_depth(depth, parameters):
        x = jnp.repeat(depth, nets.depth_channels, -1)
        return jax.nn.softmax(run("depth", x, parameters=parameters)[0])

    if nets.rgb and "image" in data:
        out["rgb"] = jax.nn.softmax(run("rgb", data["image"])[0])
    if nets.depth and "depth" in data:
        out["depth"] = parse_depth(data["depth"], "depth")
    if nets.translator and "image" in data:
        translated = run("translator", data["image"])
        out["translated"] = depth_to_u8(translated)
        if nets.depth:
            which = "depth_translated" if nets.split_statistics else "depth"
            out["depth_translated"] = parse_depth(translated, which)
    if "rgb" in out and ("depth" in out or "depth_translated" in out):
        second = out.get("depth", out.get("depth_translated"))
        if "depth" in out and "depth_translated" in out:
            second = where_rows(data["has_depth"], out["depth"], out["depth_translated"])
        fused = 0.5 * (out["rgb"] + second)
        if "depth_translated" not in out:
            fused = where_rows(data["has_depth"], fused, out["rgb"])
        out["fusion"] = fused
    return out


def predict_both_ways(
    variables: Variables, batch: dict[str, Array], *, nets: Nets, mirror: tuple[int, ...]
) -> dict[str, Array]:
    """`predict_step`, averaged with that of the mirrored input, mirrored back.

    Left and right classes of the mirrored prediction change places.
    """
    flipped = {k: v if k == "has_depth" else jnp.flip(v, axis=2) for k, v in batch.items()}
    one = predict_step(variables, batch, nets=nets)
    other = predict_step(variables, flipped, nets=nets)
    channels = jnp.asarray(mirror)
    return {
        k: v if k == "translated" else 0.5 * (v + jnp.flip(other[k], axis=2)[..., channels])
        for k, v in one.items()
    }
