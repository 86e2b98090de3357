"""The training run, read top to bottom."""

import dataclasses
import functools
import json
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from configs import base
from faceparse_jax import evaluate, from_config, provenance, sharding, step
from faceparse_jax.checkpoints import Checkpoints
from faceparse_jax.data import source
from faceparse_jax.data.batches import Scarcity
from faceparse_jax.data.prepared import Split
from faceparse_jax.errors import InputError
from faceparse_jax.inference import predict_step
from faceparse_jax.logs import Logs
from faceparse_jax.scoring import Scoring
from faceparse_jax.state import TrainState, init_state
from faceparse_jax.trained import load_trained

# Keys that may change between the runs of one workdir: they do not touch the training.
FREE_SECTIONS = ("eval", "log", "checkpoint", "devices")


def claim_workdir(workdir: pathlib.Path, config: dict[str, Any]) -> None:
    """Writes the config into a new workdir, or checks it against the one that is there.

    Raises:
        InputError: the workdir belongs to a run with another config.
    """
    path = workdir / "config.json"
    config = json.loads(json.dumps(config))
    if path.exists():
        # Keys that are younger than the run have the value that changes nothing.
        default = json.loads(json.dumps(base.get_config().to_dict()))
        before = provenance.flat(default) | provenance.flat(json.loads(path.read_text()))
        now = provenance.flat(config)
        differing = [
            f"{key}={before.get(key)!r} (now {now.get(key)!r})"
            for key in sorted(before | now)
            if before.get(key) != now.get(key)
            and not key.startswith(FREE_SECTIONS)
            and key != "data.data_dir"
        ]
        if differing:
            raise InputError(
                str(path),
                "a run with " + ", ".join(differing),
                "the same config",
                "give the same config to resume, or another --workdir",
            )
    evaluate.write_json(path, config)


def train(config, workdir: pathlib.Path) -> dict[str, float]:
    """Trains, or resumes, the run of `config` in `workdir`.

    Returns:
        The scalars of the last evaluation on validation data.
    """
    # 1. Everything that can be refused is refused before anything is written.
    mesh = sharding.make_mesh(config.devices)
    sharding.check_divides(config.train.batch, mesh, "train.batch")
    sharding.check_divides(config.eval.batch, mesh, "eval.batch")
    weights = from_config.weights(config)
    txs = from_config.optimizers(config)
    data = source.module(config.data.source)
    train_split = evaluate.open_data(config, "train")
    validation = evaluate.open_data(config, "validation")
    scheme = train_split.scheme
    nets = from_config.nets(config, scheme.num_classes)
    augment = from_config.augment(config, scheme)
    best_route(config, nets)
    names = (field.name for field in dataclasses.fields(Scarcity))
    scarcity = Scarcity(**{name: config.data[name] for name in names})
    kept = _kept(data, train_split, scarcity)
    host = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    validate_batches = functools.partial(
        data.eval_batches,
        validation,
        batch_size=config.eval.batch,
        size=config.data.size,
        label_size=config.eval.label_size or None,
        cache=config.data.cache,
        **host,
    )
    validate_batches()  # what it would refuse, now
    lead = sharding.is_lead()
    if lead:
        workdir.mkdir(parents=True, exist_ok=True)
        claim_workdir(workdir, config.to_dict())

    # 2. State: fresh, or the latest one in the workdir.
    whole = sharding.replicated(mesh)
    key = jax.random.key(config.seed)
    init = functools.partial(
        init_state, nets=nets, txs=txs, size=config.augment.crop, ema=config.train.ema > 0
    )
    meta = {
        "config": config.to_dict(),
        "seed": config.seed,
        "code_version": provenance.code_version(),
        "libraries": provenance.libraries(),
        "dataset": evaluate.dataset_record(train_split) | {"examples": kept},
        "best": None,
    }
    checkpoints = Checkpoints(workdir, config.checkpoint.keep)
    restored = checkpoints.restore(jax.eval_shape(init, key), mesh)
    if restored is None:
        # Runs once: compiling it with care would cost more than it saves.
        options = {"xla_backend_optimization_level": "0"}
        state = jax.jit(init, out_shardings=whole, compiler_options=options)(key)
        if config.train.translator_from:
            state = _with_translator(state, pathlib.Path(config.train.translator_from), whole)
    else:
        state, old = restored
        meta["best"] = old["best"]
        if old["dataset"]["fingerprint"] != train_split.fingerprint:
            raise InputError(
                str(train_split.directory),
                f"dataset fingerprint {train_split.fingerprint}",
                f"{old['dataset']['fingerprint']}, which the run in {workdir} began with",
                "prepare the same data, or start in another --workdir",
            )
    start = int(state.step)

    # 3. One jitted step.
    train_step = jax.jit(
        functools.partial(
            step.train_step,
            nets=nets,
            txs=txs,
            weights=weights,
            augment=augment,
            ema=config.train.ema,
        ),
        in_shardings=(whole, sharding.by_row(mesh), whole),
        out_shardings=(whole, whole),
        donate_argnums=0,
    )
    eval_step = evaluate.make_eval_step(nets, Scoring(scheme.num_classes), mesh)
    show = jax.jit(functools.partial(predict_step, nets=nets))
    batches = data.train_batches(
        train_split,
        batch_size=config.train.batch,
        size=config.data.size,
        seed=config.seed,
        start_step=start,
        shuffle_buffer=config.data.shuffle_buffer,
        cache=config.data.cache,
        scarcity=scarcity,
        **host,
    )

    # 4. The loop. Numbers leave the device at log steps only.
    key = jax.device_put(key, whole)
    last_scores: dict[str, float] = {}
    total = config.train.steps
    with checkpoints, Logs(workdir, total, start_step=start, lead=lead) as logs:
        since, since_step = time.monotonic(), start
        for number in range(start + 1, total + 1):
            batch = sharding.shard(training_inputs(next(batches)), mesh)
            with jax.transfer_guard("disallow"):
                state, scalars = train_step(state, batch, key)

            if number % config.log.every == 0 or number == total:
                numbers = {k: float(v) for k, v in jax.device_get(scalars).items()}
                seconds = max(time.monotonic() - since, 1e-9)
                speed = (number - since_step) * config.train.batch / seconds
                numbers["images_per_second"] = speed
                logs.scalars(number, numbers)
                rate = max(v for k, v in numbers.items() if k.startswith("rate/"))
                logs.progress(number, images_per_second=speed, rate=rate, loss=numbers["loss"])
                since, since_step = time.monotonic(), number

            evaluated = number % config.eval.every == 0 or number == total
            if evaluated:
                counts, _ = evaluate.count(eval_step, state.variables(), validate_batches(), mesh)
                last_scores = evaluate.scalars(counts, scheme)
                logs.scalars(number, last_scores)
                score = last_scores.get(f"validation/{best_route(config, nets)}/f1/mean", 0.0)
                if meta["best"] is None or score > meta["best"]["score"]:
                    meta["best"] = {"step": number, "score": score}
                    checkpoints.save_best(state, meta)
            if lead and (number % config.log.pictures_every == 0 or number == total):
                batch = next(validate_batches())
                batch = {k: v[:4] for k, v in batch.items()}
                picture = evaluate.examples_picture(show, state.variables(), batch, scheme)
                logs.pictures(number, "examples", picture)
            # Saved before the next batch is drawn, so that step and data agree.
            if number % config.checkpoint.every == 0 or number == total:
                checkpoints.save(state, meta)
            if evaluated:
                since, since_step = time.monotonic(), number
    return last_scores


def _with_translator(
    state: TrainState, workdir: pathlib.Path, place: jax.sharding.Sharding
) -> TrainState:
    """The state with the translator of another run's last checkpoint.

    Raises:
        InputError: that run has no translator, or one of another form.
    """
    variables = load_trained(workdir, "last").variables.get("translator")
    here = {"params": state.params["translator"], "batch_stats": state.batch_stats["translator"]}
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (variables, here)]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"config.train.translator_from {workdir}",
            "no translator" if variables is None else "a translator of another form",
            "one with this config's crop, size and model.translator_features",
            "train it with the same config and --config.loss.translation=10 alone",
        )
    variables = jax.device_put(variables, place)
    new = {
        name: getattr(state, name) | {"translator": variables[name]}
        for name in ("params", "batch_stats")
    }
    if state.ema:
        new["ema"] = {
            name: state.ema[name] | {"translator": jax.tree.map(jnp.copy, variables[name])}
            for name in ("params", "batch_stats")
        }
    return state.replace(**new)


def _kept(data, split: Split, scarcity: Scarcity) -> dict[str, int]:
    """How many training examples there are, and how many keep depth and label.

    Raises:
        InputError: no example keeps its label, or none its depth although some should.
    """
    count = split.num_examples
    if scarcity.whole:
        return {"all": count, "depth": split.with_depth, "label": count}
    ids = data.split_ids(split, range(count))
    kept = scarcity.counts(ids, data.has_depth(split))
    for what, fraction in (("depth", scarcity.depth_fraction), ("label", scarcity.label_fraction)):
        if not kept[what] and (fraction or what == "label"):
            raise InputError(
                f"config.data.{what}_fraction",
                f"{fraction:g}, by which none of {count:,} examples keeps its {what}",
                "at least one",
                "set a larger fraction",
            )
    return {"all": count} | kept


def best_route(config, nets) -> str:
    """The route whose validation score chooses the best checkpoint."""
    there = [
        route
        for route, needed in {
            "fusion": nets.rgb and nets.depth,
            "rgb": nets.rgb,
            "depth": nets.depth,
            "depth_translated": nets.depth and nets.translator,
        }.items()
        if needed
    ]
    chosen = config.checkpoint.best or (there[0] if there else "")
    if there and chosen not in there:
        raise InputError(
            "config.checkpoint.best",
            repr(chosen),
            f"one of {there}, which these networks have",
            f"set --config.checkpoint.best={there[0]}",
        )
    return chosen


def training_inputs(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the step reads of a batch."""
    return {k: batch[k] for k in ("image", "depth", "label", "has_depth")}
