"""What a run is made of: accepted or refused as a whole, then begun or resumed."""

import dataclasses
import functools
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from faceparse_jax.checkpoints.state import TrainState
from faceparse_jax.checkpoints.store import Checkpoints, Meta, read_meta
from faceparse_jax.config import Config, Configs, parse
from faceparse_jax.data import batches, reader
from faceparse_jax.data.batches import Batch
from faceparse_jax.data.order import Order, Scarcity
from faceparse_jax.data.reader import Reader
from faceparse_jax.errors import InputError
from faceparse_jax.images.depth import Levels, levels_of
from faceparse_jax.models import system
from faceparse_jax.models.routes import preferred, routes
from faceparse_jax.models.system import System
from faceparse_jax.runtime import places, provenance, sharding
from faceparse_jax.training import optim, start, step
from faceparse_jax.training.optim import Optimizer

_LEVEL_ROWS, _LEVEL_BATCHES = 8, 8


@dataclasses.dataclass(frozen=True)
class Job:
    """A config, and what it stands for on this machine.

    Attributes:
        kept: training examples: ``all``, and those that keep ``depth`` and ``label``.
        best_route: the route whose validation score chooses the best checkpoint.
    """

    config: Config
    mesh: Mesh
    data: Reader
    validation: Reader
    system: System
    optimizer: Optimizer
    order: Order
    kept: Mapping[str, int]
    best_route: str

    def train_batches(self, start_step: int) -> Iterator[Batch]:
        """This host's rows of the batches from `start_step` on."""
        return self.data.train(self.order, start_step)

    def train_inputs(self, start_step: int) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        """The same batches as the step takes them, on the devices, each with its `example_rows`."""
        for batch in self.train_batches(start_step):
            yield example_rows(batch), sharding.shard(training_inputs(batch), self.mesh)

    def validation_batches(self) -> Iterator[Batch]:
        """This host's rows of the validation split, once."""
        return self.validation.evaluate(
            self.config.eval.batch,
            self.config.eval.label_size,
            jax.process_index(),
            jax.process_count(),
        )

    def train_step(self) -> Callable:
        """`step.jitted` for this job."""
        scheme = self.data.split.scheme
        return step.jitted(self.config, scheme, self.system, self.optimizer, self.mesh)

    @functools.cached_property
    def key(self) -> jax.Array:
        """The run's random key, on every device."""
        seed = self.config.seed
        return jax.jit(lambda: jax.random.key(seed), out_shardings=sharding.replicated(self.mesh))()

    def depth_levels(self) -> Levels | None:
        """Where the depth of the first validation examples begins and ends; None without any.

        Prediction brings other kinds of depth to these levels.
        """
        first = itertools.islice(self.validation.evaluate(_LEVEL_ROWS), _LEVEL_BATCHES)
        return levels_of(row[..., 0] for batch in first for row in batch["depth"])

    def best_by(self) -> dict[str, Any]:
        """What the best checkpoint is chosen by."""
        return {"route": self.best_route, "label_size": self.config.eval.label_size}

    def begin(self, checkpoints: Checkpoints, before: int | None = None) -> tuple[TrainState, Meta]:
        """The latest state of the run, or a fresh one, and the meta that goes on.

        Args:
            before: only checkpoints of steps below this one.

        Raises:
            InputError: as `resume` and `fresh`.
        """
        return self.resume(checkpoints, before) or self.fresh()

    def resume(
        self, checkpoints: Checkpoints, before: int | None = None
    ) -> tuple[TrainState, Meta] | None:
        """The latest state of the run and its meta; None where there is none.

        Raises:
            InputError: the run began with other data, or none of its checkpoints opens.
        """
        restored = checkpoints.restore(self._fresh_shapes, self.mesh, before)
        if restored is None:
            return None
        state, old = restored
        if old["dataset"]["fingerprint"] != self.data.split.fingerprint:
            raise InputError(
                str(self.data.split.directory),
                f"dataset fingerprint {self.data.split.fingerprint}",
                f"{old['dataset']['fingerprint']}, which the run began with",
                "prepare the same data, or start in another --workdir",
            )
        best = old["best"]
        # A score by another route or at another size says nothing about those to come.
        by = self.best_by()
        if best is not None and any(best.get(key, now) != now for key, now in by.items()):
            told = ", ".join(f"{key} {value}" for key, value in by.items())
            print(f"note: the best checkpoint is chosen anew, by {told}", file=sys.stderr)
            best = None
        if best is not None and not checkpoints.has_best(best["step"]):
            print("note: the best checkpoint is chosen anew, since it is lost", file=sys.stderr)
            best = None
        kept = {"seen": old.get("seen"), "init": old.get("init")}
        return state, self._meta() | {"best": best} | kept

    def fresh(self) -> tuple[TrainState, Meta]:
        """A fresh state, with the networks that are `taken`, and its meta.

        Raises:
            InputError: as `start.taken`.
        """
        state, meta, found = self._init(self.key), self._meta(), self.taken
        if found is None:
            return state, meta
        shared = dataclasses.replace(
            found,
            params=sharding.replicate(found.params, self.mesh),
            batch_stats=sharding.replicate(found.batch_stats, self.mesh),
        )
        return start.begun(state, shared), meta | {"init": found.record}

    @functools.cached_property
    def taken(self) -> start.Taken | None:
        """What a run that begins takes over, see `start.taken`."""
        scheme = self.data.split.scheme
        return start.taken(self.config, self.system, self._fresh_shapes, scheme)

    def compiled_step(self) -> Callable:
        """`train_step`, compiled before there is a state or a batch; any thread may call it."""
        config, bits = self.config, self.data.split.depth_bits
        batch = batches.empty(config.train.batch, config.data.size, bits)
        if config.data.paired_rows:
            batch["paired"] = batches.empty(config.data.paired_rows, config.data.size, bits)
        # Over several processes JAX takes shapes alone for arrays that none of them holds whole.
        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), training_inputs(batch)
        )
        return self.train_step().lower(self._fresh_shapes, shapes, _key_shape()).compile()

    @functools.cached_property
    def _init(self) -> Callable:
        return jax.jit(
            functools.partial(
                init_state,
                system=self.system,
                optimizer=self.optimizer,
                size=self.config.augment.crop,
                ema=self.config.train.ema > 0,
            ),
            out_shardings=sharding.replicated(self.mesh),
            # Runs once: compiling it with care would cost more than it saves.
            compiler_options={"xla_backend_optimization_level": "0"},
        )

    @functools.cached_property
    def _fresh_shapes(self) -> TrainState:
        return jax.eval_shape(self._init, _key_shape())

    def _meta(self) -> Meta:
        """The meta of a run that begins."""
        return {
            "config": self.config.to_dict(),
            "seed": self.config.seed,
            "code_version": provenance.code_version(),
            "libraries": provenance.libraries(),
            "dataset": self.data.split.record()
            | {"examples": dict(self.kept), "depth_levels": self.depth_levels()},
            "best": None,
            "seen": None,
            "init": None,
        }


def _key_shape() -> jax.ShapeDtypeStruct:
    return jax.eval_shape(lambda: jax.random.key(0))


def init_state(
    key: jax.Array, *, system: System, optimizer: Optimizer, size: int, ema: bool
) -> TrainState:
    """A fresh state; `size` is the side of the training crop in pixels."""
    params, stats = system.init(key, size)
    average = {"params": params, "batch_stats": stats} if ema else {}
    average = jax.tree.map(jnp.copy, average)  # donated state must not alias itself
    return TrainState(jnp.int32(0), params, stats, optimizer.transform.init(params), average)


def accept(config: Configs, find_translator: bool = True) -> Job:
    """The job of a config; writes nothing.

    Args:
        find_translator: whether the run that ``train.translator_from`` names must be there.

    Raises:
        InputError: whatever can be refused before the first step.
    """
    config = parse(config)
    mesh = sharding.make_mesh(config.devices)
    sharding.check_divides(config.train.batch, mesh, "train.batch")
    if config.data.paired_rows:
        sharding.check_divides(config.data.paired_rows, mesh, "data.paired_rows")
    data = reader.open_data(config.data, "train")
    networks = system.build(config, data.split.scheme.num_classes)
    _check_rows(config, networks)
    names = (field.name for field in dataclasses.fields(Scarcity))
    order = Order(
        batch=config.train.batch,
        seed=config.seed,
        scarcity=Scarcity(**{name: getattr(config.data, name) for name in names}),
        paired=config.data.paired_rows,
        host=jax.process_index(),
        hosts=jax.process_count(),
    )
    job = Job(
        config=config,
        mesh=mesh,
        data=data,
        validation=reader.open_data(config.data, "validation"),
        system=networks,
        optimizer=optim.build(config, networks),
        order=order,
        kept=_kept(data, order),
        best_route=_best_route(config, networks),
    )
    # Both refuse what they cannot read when they are made.
    job.train_batches(0)
    job.validation_batches()
    if config.train.translator_from and find_translator:
        named = "config.train.translator_from"
        read_meta(places.place(config.train.translator_from, named), "last")
    return job


def _check_rows(config: Config, networks: System) -> None:
    """Refuses single rows: global pooling in the parsers leaves one value of each channel.

    Raises:
        InputError: one row, of which BatchNorm would make a constant.
    """
    seen = {"train.batch": config.train.batch}
    if networks.depth is not None:
        seen["data.paired_rows"] = config.data.paired_rows
    for key, rows in seen.items():
        if rows == 1 and (networks.rgb is not None or networks.depth is not None):
            raise InputError(
                f"config.{key}",
                "1 row, of which BatchNorm makes constants after the parsers' global pooling",
                "at least 2 rows" + (", or 0" if key == "data.paired_rows" else ""),
                f"set --config.{key}=2 or more",
            )


def training_inputs(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the step reads of a batch, and of its paired batch where there is one."""
    read = {k: batch[k] for k in ("image", "depth", "label", "has_depth")}
    if "paired" in batch:
        read["paired"] = training_inputs(batch["paired"])
    return read


def example_rows(batch: Batch) -> np.ndarray:
    """The rows of the training split that a batch, and its paired batch, hold, i32 [n]."""
    parts = [batch, batch["paired"]] if "paired" in batch else [batch]
    return np.concatenate([part["index"] for part in parts])


def _kept(data: Reader, order: Order) -> dict[str, int]:
    """How many training examples there are, and how many keep depth and label.

    Raises:
        InputError: no example keeps its label, or none its depth although some should; rows
            that cannot be drawn.
    """
    split, scarcity = data.split, order.scarcity
    if order.from_all:
        return {
            "all": split.num_examples,
            "depth": split.with_depth,
            "label": split.num_examples,
        }
    kept = scarcity.kept(data.ids, data.has_depth)
    order.pools(kept)  # what it would refuse
    counts = {what: int(keeps.sum()) for what, keeps in kept.items()}
    for what, fraction in (("depth", scarcity.depth_fraction), ("label", scarcity.label_fraction)):
        if not counts[what] and (fraction or what == "label"):
            raise InputError(
                f"config.data.{what}_fraction",
                f"{fraction:g}, by which none of {split.num_examples:,} examples keeps its {what}",
                "at least one",
                "set a larger fraction",
            )
    return {"all": split.num_examples} | counts


def _best_route(config: Config, networks: System) -> str:
    """The route whose validation score chooses the best checkpoint; empty where there is none.

    Raises:
        InputError: the networks have no such route.
    """
    there = preferred(routes(networks.networks()))
    chosen = config.checkpoint.best or (there[0] if there else "")
    if there and chosen not in there:
        raise InputError(
            "config.checkpoint.best",
            repr(chosen),
            f"one of {there}, which these networks have",
            f"set --config.checkpoint.best={there[0]}",
        )
    return chosen
