"""The training step: a pure function of arrays and frozen values.

The networks learn together in one jitted step: the RGB parser from images, the depth
parser from depth and from translated depth, the translator from paired depth and,
through the depth parser, from labels. A term of weight 0 is not traced at all.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from faceparse_jax.checkpoints.state import Nets, TrainState, Weights
from faceparse_jax.data.augment import Augment, augment_batch
from faceparse_jax.labels import IGNORE
from faceparse_jax.models.system import where_rows
from faceparse_jax.training import losses
from faceparse_jax.training.optim import Optimizer
from faceparse_jax.training.tally import tally_batch


def _fill_rows(
    depth: Float[Array, "b h w 1"], has_depth: Bool[Array, " b"]
) -> Float[Array, "b h w 1"]:
    """Rows without depth replaced by rows that have it, in turn.

    So the batch statistics of a pass over real depth come from real depth alone; the
    losses leave the replaced rows out. A batch without any depth comes back as it is.
    """
    order = jnp.argsort(~has_depth, stable=True)
    turn = jnp.arange(has_depth.size) % jnp.maximum(jnp.sum(has_depth), 1)
    return depth[jnp.where(has_depth, jnp.arange(has_depth.size), order[turn])]


# Of normalised depth. Where there is no depth, a translator is near -1 and seldom at it.
_SUPPORT = -0.75


def _grown(step: Int[Array, ""], steps: int) -> Float[Array, ""]:
    """0 before step 0, then linearly up to 1 over this many steps."""
    return jnp.clip((step + 1) / max(steps, 1), 0.0, 1.0)


def _objective(params, batch_stats, data, key, step, *, nets: Nets, weights: Weights):
    """Weighted sum of the terms; also the terms, new statistics and the translated depth."""
    image, depth, label, has_depth = (data[k] for k in ("image", "depth", "label", "has_depth"))
    # Not the label: a photograph without one still teaches translator and parsers.
    in_frame = data["frame"]
    with_depth = in_frame & has_depth[:, None, None]
    stats = dict(batch_stats)
    terms = {}
    # Static rows: a network runs on those that its terms use, and on no other.
    own = rest = slice(None)
    if weights.depth_rows:
        own = np.array(weights.depth_rows)
        rest = np.setdiff1d(np.arange(label.shape[0]), own)

    def run(name, *inputs, statistics=None, **rngs):
        statistics = statistics or name
        variables = {"params": params[name], "batch_stats": stats[statistics]}
        out, new = getattr(nets, name).apply(
            variables, *inputs, train=True, mutable=["batch_stats"], rngs=rngs
        )
        return out, new.get("batch_stats", {})

    def segmentation(heads, label):
        return losses.segmentation(
            heads,
            label,
            auxiliary=weights.auxiliary,
            threshold=weights.ohem_threshold,
            min_fraction=weights.ohem_min_fraction,
            mean=weights.segmentation_mean,
        )

    rgb_heads = real_heads = fake_heads = translated = None
    if weights.rgb or weights.mutual:
        rgb_heads, stats["rgb"] = run("rgb", image[rest])
    if weights.rgb:
        terms["rgb"] = segmentation(rgb_heads, label[rest])
    if "translator" in weights.networks():
        if weights.freeze_translator:
            fixed = {
                "params": params["translator"],
                "batch_stats": batch_stats["translator"],
            }
            translated = jax.lax.stop_gradient(nets.translator.apply(fixed, image, train=False))
        else:
            translated, stats["translator"] = run("translator", image, dropout=key)

    needs_real, needs_fake = weights.real_depth(), weights.translated_depth()
    channels = nets.depth_channels
    if needs_real:
        real = jnp.repeat(_fill_rows(depth[own], has_depth[own]), channels, -1)
    if needs_fake:
        share = weights.e2e_to_translator
        passed = translated[rest]
        if share != 1:
            passed = share * passed + (1 - share) * jax.lax.stop_gradient(passed)
        fake = jnp.repeat(passed, channels, -1)
    if needs_real and needs_fake and not nets.split_statistics:
        # Without any depth in the batch, the statistics are those of translated depth. Rows that
        # are drawn for their depth always have some.
        if not weights.depth_rows:
            real = jnp.where(jnp.any(has_depth), real, fake)
        heads, stats["depth"] = run("depth", jnp.concatenate([real, fake]))
        count = real.shape[0]
        real_heads = tuple(head[:count] for head in heads)
        fake_heads = tuple(head[count:] for head in heads)
    else:
        if needs_real:
            real_heads, new = run("depth", real)
            any_depth = jnp.any(has_depth[own])  # else the pass saw nothing worth remembering
            stats["depth"] = jax.tree.map(
                lambda n, o: jnp.where(any_depth, n, o), new, stats["depth"]
            )
        if needs_fake:
            which = "depth_translated" if nets.split_statistics else "depth"
            fake_heads, stats[which] = run("depth", fake, statistics=which)

    if weights.depth:
        terms["depth"] = segmentation(real_heads, jnp.where(with_depth, label, IGNORE)[own])
    if weights.e2e:
        terms["e2e"] = segmentation(fake_heads, label[rest])
    if weights.mutual:
        if weights.depth_rows:
            taught, mask = fake_heads[0], in_frame[rest]
        elif not needs_fake:
            taught, mask = real_heads[0], with_depth
        else:
            taught, mask = where_rows(has_depth, real_heads[0], fake_heads[0]), in_frame
        if weights.mutual_where == "support":
            seen = depth
            if needs_fake:
                seen = where_rows(has_depth, depth, translated)
            if weights.depth_rows:
                seen = translated[rest]
            mask &= seen[..., 0] > _SUPPORT
        terms["mutual"] = losses.mutual(
            rgb_heads[0],
            taught,
            mask,
            kind=weights.mutual_kind,
            temperature=weights.temperature,
            stop_gradient=weights.stop_gradient,
            label=label[rest],
            trust=weights.mutual_trust,
            students={"both": "both", "rgb": "a", "depth": "b"}[weights.mutual_students],
            mean=weights.mutual_mean,
            threshold=weights.ohem_threshold,
            min_fraction=weights.ohem_min_fraction,
        )
    if weights.translation:
        terms["translation"] = losses.translation(translated, depth, with_depth)
    if weights.adversarial:
        fake_patches, _ = run("discriminator", image, translated)
        terms["adversarial"] = losses.adversarial(fake_patches, has_depth)

    def weight(name):
        full = getattr(weights, name)
        if name == "mutual":
            full *= _grown(step - weights.mutual_start_step, weights.mutual_ramp_steps)
        if name == "e2e":
            full *= _grown(step, weights.e2e_ramp_steps)
            if weights.e2e_fade_steps:
                full *= jnp.maximum(0.0, 1 - step / weights.e2e_fade_steps)
        return full

    total = sum((weight(name) * term for name, term in terms.items()), jnp.float32(0))
    return total, (terms, stats, translated)


def _discriminate(params, batch_stats, data, translated, *, nets: Nets):
    """The discriminator's own loss on real and (frozen) translated pairs."""
    rows = data["has_depth"]
    pairs = (
        jnp.concatenate([data["image"], data["image"]]),
        jnp.concatenate([_fill_rows(data["depth"], rows), jax.lax.stop_gradient(translated)]),
    )
    patches, new = nets.discriminator.apply(
        {"params": params, "batch_stats": batch_stats}, *pairs, train=True, mutable=["batch_stats"]
    )
    real, fake = jnp.split(patches, 2)
    return losses.discrimination(real, fake, rows), new.get("batch_stats", {})


def train_step(
    state: TrainState,
    batch: dict[str, Array],
    key: PRNGKeyArray,
    *,
    nets: Nets,
    txs: Mapping[str, Optimizer],
    weights: Weights,
    augment: Augment,
    ema: float = 0.0,
) -> tuple[TrainState, dict[str, Float[Array, ""] | dict[str, Shaped[Array, "..."]]]]:
    """One update of all networks.

    Args:
        state: the state before the step; may be donated.
        batch: image u8 [b h w 3], depth u8 or u16 [b h w 1], label u8 [b h w], has_depth [b].
        key: the run's key; the step's own randomness is ``fold_in(key, state.step)``.
        ema: decay of the running average; 0 when the state has none.

    Returns:
        The state after the step and scalars: ``loss``, ``loss/<term>``, ``rate/<net>``,
        ``gradient_norm/<net>``, ``batch/with_depth`` and ``batch/valid`` (fractions); under
        ``seen`` what `tally.tally_batch` counts.
    """
    augment_key, net_key = jax.random.split(jax.random.fold_in(key, state.step))
    batch = {k: batch[k] for k in ("image", "depth", "label", "has_depth")}
    data = augment_batch(augment_key, batch, augment)

    learners = {k: v for k, v in state.params.items() if k != "discriminator"}

    def objective(learners):
        params = state.params | learners
        return _objective(
            params, state.batch_stats, data, net_key, state.step, nets=nets, weights=weights
        )

    (loss, (terms, stats, translated)), grads = jax.value_and_grad(objective, has_aux=True)(
        learners
    )
    if weights.adversarial:
        (terms["discriminator"], stats["discriminator"]), grads["discriminator"] = (
            jax.value_and_grad(_discriminate, has_aux=True)(
                state.params["discriminator"],
                state.batch_stats["discriminator"],
                data,
                translated,
                nets=nets,
            )
        )

    params, opt_state, scalars = {}, {}, {"loss": loss}
    scalars |= {f"loss/{name}": term for name, term in terms.items()}
    for name in state.params:
        direction, opt_state[name] = txs[name].direction.update(
            grads[name], state.opt_state[name], state.params[name]
        )
        rate = txs[name].rate(state.step)
        params[name] = jax.tree.map(lambda p, d, r=rate: p - r * d, state.params[name], direction)
        scalars[f"rate/{name}"] = rate
        squares = jax.tree.map(lambda g: jnp.sum(jnp.square(g)), grads[name])
        scalars[f"gradient_norm/{name}"] = jnp.sqrt(sum(jax.tree.leaves(squares)))
    scalars["batch/with_depth"] = jnp.mean(data["has_depth"].astype(jnp.float32))
    scalars["batch/valid"] = jnp.mean((data["label"] != IGNORE).astype(jnp.float32))

    # The table of mirrored classes has an entry for each class.
    scalars["seen"] = tally_batch(data["label"], data["has_depth"], len(augment.mirror))

    average = state.ema
    if average:
        # The usual ramp: early on, the average follows closely.
        decay = jnp.minimum(ema, (1.0 + state.step) / (10.0 + state.step))
        average = jax.tree.map(
            # In this form, what does not change keeps its bits.
            lambda old, new: old + (1 - decay) * (new - old),
            average,
            {"params": params, "batch_stats": stats},
        )
    return TrainState(state.step + 1, params, stats, opt_state, average), scalars
