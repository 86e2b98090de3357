"""The training step: a pure function of arrays and frozen values.

The networks learn together in one jitted step: the RGB parser from images, the depth
parser from depth and from translated depth, the translator from paired depth and,
through the depth parser, from labels.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from faceparse_jax.checkpoints.state import TrainState
from faceparse_jax.config import Config
from faceparse_jax.data import augment as augmentation
from faceparse_jax.data.augment import Augment, augment_batch
from faceparse_jax.labels import IGNORE, Scheme
from faceparse_jax.models.system import System, all_rows, apart, beside, judge
from faceparse_jax.runtime import sharding
from faceparse_jax.training import losses, objective
from faceparse_jax.training.objective import Loss
from faceparse_jax.training.optim import Optimizer
from faceparse_jax.training.tally import tally_batch


def _discriminate(params, stats, data, translated, *, system: System):
    """The discriminator's own loss on real and (frozen) translated pairs.

    Real and translated pairs count the same in its batch statistics.
    """
    rows = all_rows(data)
    there, count = rows["has_depth"], len(translated)
    weight = there * (count / jnp.maximum(jnp.sum(there), 1.0))
    images = beside(rows["image"], rows["image"])
    depths = beside(rows["depth"], jax.lax.stop_gradient(translated))
    counts = beside(weight, jnp.ones(count))
    patches, stats = judge(system, params, stats, images, depths, counts)
    real, fake = apart(patches, count)
    return losses.discrimination(real, fake, there), stats["discriminator"]


def jitted(
    config: Config, scheme: Scheme, system: System, optimizer: Optimizer, mesh: Mesh
) -> Callable:
    """`train_step` of a config for labels of a scheme, jitted over a mesh; donates the state."""
    whole = sharding.replicated(mesh)
    return jax.jit(
        functools.partial(
            train_step,
            system=system,
            loss=objective.build(config),
            optimizer=optimizer,
            augment=augmentation.build(config, scheme),
            ema=config.train.ema,
        ),
        in_shardings=(whole, sharding.by_row(mesh), whole),
        out_shardings=(whole, whole),
        donate_argnums=0,
    )


def train_step(
    state: TrainState,
    batch: dict[str, Array | dict[str, Array]],
    key: PRNGKeyArray,
    *,
    system: System,
    loss: Loss,
    optimizer: Optimizer,
    augment: Augment,
    ema: float = 0.0,
) -> tuple[TrainState, dict[str, Float[Array, ""] | dict[str, Shaped[Array, "..."]]]]:
    """One update of all networks.

    Args:
        state: the state before the step; may be donated.
        batch: image u8 [b h w 3], depth u8 or u16 [b h w 1], label u8 [b h w], has_depth [b];
            the same under ``paired`` where there is a second batch (`models.system.forward`).
        key: the run's key; the step's own randomness is ``fold_in(key, state.step)``.
        ema: decay of the running average; 0 when the state has none.

    Returns:
        The state after the step and scalars: ``loss``, ``loss/<term>``, ``rate/<network>``,
        ``gradient_norm/<network>``, ``batch/with_depth`` and ``batch/valid`` (fractions); under
        ``seen`` what `tally.tally_batch` counts.
    """
    augment_key, pass_key = jax.random.split(jax.random.fold_in(key, state.step))
    data = augment_batch(augment_key, batch, augment)

    learners = {k: v for k, v in state.params.items() if k != "discriminator"}
    (total, (terms, stats, translated)), grads = jax.value_and_grad(
        lambda learners: objective.objective(
            state.params | learners,
            state.batch_stats,
            data,
            pass_key,
            state.step,
            system=system,
            loss=loss,
        ),
        has_aux=True,
    )(learners)
    if system.discriminator is not None:
        (terms["discriminator"], stats["discriminator"]), own = jax.value_and_grad(
            lambda params: _discriminate(
                {"discriminator": params}, state.batch_stats, data, translated, system=system
            ),
            has_aux=True,
        )(state.params["discriminator"])
        grads["discriminator"] = own

    updates, opt_state = optimizer.transform.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)

    rows = all_rows({k: v for k, v in data.items() if k in ("label", "has_depth", "paired")})
    scalars = {"loss": total} | {f"loss/{name}": term for name, term in terms.items()}
    scalars |= {f"rate/{name}": rate(state.step) for name, rate in optimizer.rates.items()}
    scalars |= {f"gradient_norm/{name}": optax.global_norm(grad) for name, grad in grads.items()}
    scalars["batch/with_depth"] = jnp.mean(rows["has_depth"].astype(jnp.float32))
    scalars["batch/valid"] = jnp.mean((rows["label"] != IGNORE).astype(jnp.float32))
    # The table of mirrored classes has an entry for each class.
    scalars["seen"] = tally_batch(rows["label"], rows["has_depth"], len(augment.mirror))

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
