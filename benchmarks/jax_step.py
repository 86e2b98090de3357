"""Our side of benchmarks/step.py and benchmarks/gpu.py: the tasks of benchmarks/torch_step.py.

    python -m benchmarks.jax_step TASK

Tasks and answers are described there. The step is `training.step.train_step`, on pictures whose
side is that of the crop, with nothing drawn at random. Augmentation still maps every picture onto
the crop, the classes seen are counted, and the norms of the gradients are taken, which the other
side does not do.
"""

import functools
import json
import resource
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from faceparse_jax.checkpoints.state import TrainState
from faceparse_jax.config import Config, parse
from faceparse_jax.configs import base, recipes
from faceparse_jax.labels import CELEBAMASK_HQ
from faceparse_jax.models import system
from faceparse_jax.models.inference import inference_variables, predict
from faceparse_jax.models.torch_weights import from_torch_state
from faceparse_jax.runtime import sharding
from faceparse_jax.training import optim, step

TERMS = ("rgb", "depth", "e2e", "mutual", "translation")


def config_of(side: int, batch: int, dtype: str) -> Config:
    """The full system at full size, on still pictures, with constant rates."""
    config = recipes.full_system(recipes.at_512(base.get_config()))
    config.data.size = config.augment.crop = side
    config.augment.scales, config.augment.flip = (1.0,), 0.0
    config.augment.rotate = config.augment.jitter = 0.0
    config.optim.rate, config.optim.schedule, config.optim.warmup_steps = 1e-3, "constant", 0
    config.model.dtype, config.train.batch = dtype, batch
    return parse(config)


def batch_of(side: int, rows: int) -> dict[str, np.ndarray]:
    """A batch as `train_step` takes it: blocks of every class, with noise, in other shades by row.

    The rows differ, since a network's gradient by a batch of equals is mostly rounding.
    """
    rng = np.random.default_rng(0)
    sides = (rows, side // 16, side // 16, 1)
    classes = rng.integers(0, CELEBAMASK_HQ.num_classes, sides, np.uint8)
    classes = classes.repeat(16, 1).repeat(16, 2)
    shade = rng.integers(0, 100, (rows, 1, 1, 3), np.uint8)
    image = 5 * classes + shade + rng.integers(0, 60, (rows, side, side, 3), np.uint8)
    depth = 5 * classes + shade[..., :1] + rng.integers(1, 60, (rows, side, side, 1), np.uint8)
    label = classes[..., 0]
    return {"image": image, "depth": depth, "label": label, "has_depth": np.ones(rows, bool)}


def load(file: str) -> tuple[dict, dict]:
    """Parameters and batch statistics by network, from PyTorch's weights."""
    with np.load(file) as arrays:
        state = {name: arrays[name] for name in arrays.files}
    params, stats = {}, {}
    for name in ("rgb", "depth"):
        own = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
        converted = from_torch_state(own)
        params[name], stats[name] = converted.params, converted.batch_stats
    params["translator"], stats["translator"] = _unet(state)
    return params, stats


_NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}


def _unet(state: dict[str, np.ndarray]) -> tuple[dict, dict]:
    """The U-Net's layers, which have our names."""
    params: dict[str, dict] = {}
    stats: dict[str, dict] = {}
    for name, value in state.items():
        network, _, rest = name.partition(".")
        layer, _, part = rest.partition(".")
        if network != "translator" or part == "num_batches_tracked":
            continue
        if value.ndim == 4:  # [out in h w], transposed convolutions [in out h w]
            axes = (2, 3, 0, 1) if layer.startswith("up") else (2, 3, 1, 0)
            params.setdefault(layer, {})["kernel"] = value.transpose(axes)
        else:
            collection = stats if part.startswith("running") else params
            collection.setdefault(layer, {})[_NORM[part]] = value
    return params, stats


def weights_of(networks: system.System, side: int, file: str = "") -> tuple[dict, dict]:
    """Parameters and batch statistics by network, from a file or fresh ones.

    Raises:
        ValueError: the file's weights are not of these networks.
    """
    init, key = functools.partial(networks.init, size=side), jax.random.key(0)
    if not file:
        # Runs once: compiling it with care would cost more than it saves.
        options = {"xla_backend_optimization_level": "0"}
        return jax.jit(init, compiler_options=options)(key)
    expected = jax.tree.map(lambda x: x.shape, jax.eval_shape(init, key))
    found = load(file)
    if jax.tree.map(np.shape, found) != expected:
        raise ValueError(f"{file} has other arrays than these networks")
    return jax.tree.map(jnp.asarray, found)


def peak_bytes() -> int:
    """The most memory so far: the device's, and on a CPU that of the process."""
    known = jax.devices()[0].memory_stats() or {}
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return known.get("peak_bytes_in_use", process)


def cost(program, what: str) -> float | None:
    """What XLA counts in a program; None where a backend does not count."""
    try:
        return program.cost_analysis().get(what)
    except Exception as error:  # of a backend's own kind
        print(f"no cost analysis: {error}", file=sys.stderr)
        return None


def timed(call, calls: int) -> list[float]:
    """Seconds of so many calls, after one that does not count."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return seconds


def serve(lowered, call, numbers, answers: int, parameters: int) -> None:
    """Compiles, prints what the first calls were like, then times as many as each line asks for.

    Args:
        lowered: traces and lowers the program.
        call: of the compiled program, does the work once.
        numbers: what the caller compares, of that which `call` returned.
        answers: so many calls are compared, from the first one on.
    """
    start = time.perf_counter()
    program = lowered()
    compiled = program.compile()
    found = jax.block_until_ready(call(compiled))
    reply = {"first_s": time.perf_counter() - start, "parameters": parameters}
    reply["answers"] = [numbers(found)] + [numbers(call(compiled)) for _ in range(answers - 1)]
    reply["version"] = f"jax {jax.__version__}"
    # What is asked for is counted before compilation, since then a library's call hides it.
    reply["flops"], reply["bytes"] = cost(program, "flops"), cost(compiled, "bytes accessed")
    print(json.dumps(reply), flush=True)
    for line in sys.stdin:
        seconds = timed(lambda: call(compiled), int(line))
        print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes()}), flush=True)


def count(params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def train(task: dict) -> None:
    config = config_of(task["side"], task["batch"], task["dtype"])
    networks = system.build(config, CELEBAMASK_HQ.num_classes)
    optimizer = optim.build(config, networks)
    params, stats = weights_of(networks, task["side"], task["weights"])
    state = TrainState(jnp.int32(0), params, stats, optimizer.transform.init(params), {})
    batch, key = jax.device_put(batch_of(task["side"], task["batch"])), jax.random.key(0)
    function = step.jitted(config, CELEBAMASK_HQ, networks, optimizer, sharding.make_mesh(1))
    parameters = count(params)
    held = [state]

    def call(compiled):
        state, scalars = compiled(held.pop(), batch, key)
        held.append(state)
        return state, scalars

    def numbers(found):
        return {name: float(found[1][f"loss/{name}"]) for name in TERMS}

    serve(lambda: function.lower(held[0], batch, key), call, numbers, 3, parameters)


def photo(task: dict) -> None:
    config = config_of(task["side"], 2, task["dtype"])
    networks = system.build(config, CELEBAMASK_HQ.num_classes)
    params, stats = load(task["weights"])
    alone = system.System(rgb=networks.rgb)
    variables = inference_variables({"rgb": params["rgb"]}, {"rgb": stats["rgb"]})
    variables = jax.device_put(variables)
    batch = jax.device_put({"image": batch_of(task["side"], 1)["image"]})
    function = jax.jit(functools.partial(predict, system=alone))

    def numbers(found):
        means = np.asarray(found["rgb"][0]).mean((0, 1))
        return {str(k): float(mean) for k, mean in enumerate(means)}

    serve(
        lambda: function.lower(variables, batch),
        lambda compiled: compiled(variables, batch),
        numbers,
        1,
        count(params["rgb"]),
    )


if __name__ == "__main__":
    chosen = json.loads(sys.argv[1])
    {"step": train, "photo": photo}[chosen["do"]](chosen)
