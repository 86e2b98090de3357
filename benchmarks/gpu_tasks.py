"""What benchmarks/gpu.py measures of JAX besides the step, each task in a process of its own.

    python -m benchmarks.gpu_tasks TASK

TASK is a JSON object whose ``do`` names a function of this file. It runs on the first device that
JAX sees, and prints one line of JSON.
"""

import collections
import functools
import gzip
import json
import pathlib
import statistics
import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.jax_step import batch_of, config_of, peak_bytes, timed, weights_of
from faceparse_jax.checkpoints.state import TrainState
from faceparse_jax.data import augment
from faceparse_jax.evaluation.counting import make_eval_step
from faceparse_jax.evaluation.scoring import Scoring
from faceparse_jax.labels import CELEBAMASK_HQ
from faceparse_jax.models import system
from faceparse_jax.models.inference import inference_variables, predict
from faceparse_jax.runtime import provenance, sharding
from faceparse_jax.training import objective, optim, step

_IN_A_ROW = 10


def card(task: dict) -> dict:
    """The rates of a product of two matrices in bfloat16, and of memory that is read and written.

    Calls are queued, so that the time to start one does not count. A CPU is not measured unless
    the task says ``on_cpu``.
    """
    device = jax.devices()[0]
    known = {"device": provenance.device(), "platform": device.platform}
    if device.platform == "cpu" and not task["on_cpu"]:
        return known
    side, length = task["matrix"], task["bytes"] // 4

    def median(function, x):
        def queued():
            for _ in range(_IN_A_ROW):
                y = function(x)
            return y

        return statistics.median(timed(queued, 5)) / _IN_A_ROW

    matrix = jax.random.normal(jax.random.key(0), (side, side), jnp.bfloat16)
    product = median(jax.jit(lambda x: x @ x), matrix)
    copy = median(jax.jit(lambda x: x + 1), jnp.zeros(length, jnp.float32))
    return known | {
        "memory_bytes": (device.memory_stats() or {}).get("bytes_limit"),
        "libraries": provenance.libraries(),
        "tflops": 2 * side**3 / product / 1e12,
        "gb_per_s": 2 * 4 * length / copy / 1e9,
    }


def networks_of(task: dict):
    """Config, networks, parameters and batch statistics of the full system."""
    config = config_of(task["side"], task["batch"], task["dtype"])
    networks = system.build(config, CELEBAMASK_HQ.num_classes)
    return config, networks, *weights_of(networks, task["side"])


def gradients(task: dict) -> dict:
    """Writes the terms of the loss and the gradient by network, as an .npz file."""
    if task["dtype"] == "float32":  # else a GPU rounds the factors of a product
        jax.config.update("jax_default_matmul_precision", "highest")
    config, networks, params, stats = networks_of(task)
    loss, still = objective.build(config), augment.build(config, CELEBAMASK_HQ)

    @jax.jit
    def found(params, batch):
        data = augment.augment_batch(jax.random.key(1), batch, still)

        def of(params):
            total, (terms, _, _) = objective.objective(
                params, stats, data, jax.random.key(2), jnp.int32(0), system=networks, loss=loss
            )
            return total, terms

        return jax.grad(of, has_aux=True)(params)

    grads, terms = jax.device_get(found(params, batch_of(task["side"], task["batch"])))
    arrays = {f"term {name}": value for name, value in terms.items()}
    for name, tree in grads.items():
        leaves = [leaf.ravel() for leaf in jax.tree.leaves(tree)]
        arrays[f"gradient of {name}"] = np.concatenate(leaves)
    np.savez(task["file"], **arrays)
    return {"device": provenance.device()}


def inference(task: dict) -> dict:
    """Images a second of evaluation and of prediction, of batches that are on the device."""
    _, networks, params, stats = networks_of(task)
    variables = inference_variables(params, stats)
    rows, calls = task["batch"], task["calls"]
    batch = batch_of(task["side"], rows)
    mesh = sharding.make_mesh(1)
    scored = sharding.shard(batch | {"mask": np.ones(rows, bool)}, mesh)
    inputs = jax.device_put({k: v for k, v in batch.items() if k != "label"})
    photo = jax.device_put({"image": batch["image"][:1]})
    parse = jax.jit(functools.partial(predict, system=networks))
    count = make_eval_step(networks, Scoring(CELEBAMASK_HQ.num_classes), mesh)
    ways = {
        "evaluation": (lambda: count(variables, scored), rows),
        "prediction of both": (lambda: parse(variables, inputs), rows),
        "prediction of one photograph": (lambda: parse(variables, photo), 1),
    }
    rates = {}
    for name, (call, images) in ways.items():
        seconds = timed(call, calls)
        low, middle, high = np.percentile(seconds, (10, 50, 90))
        rates[name] = [images / middle, images / high, images / low]
    return {"images_per_s": rates, "peak_bytes": peak_bytes()}


def kernels(task: dict) -> dict:
    """Milliseconds of a step by kernel, the longest first, and how often each one runs."""
    config, networks, params, stats = networks_of(task)
    optimizer = optim.build(config, networks)
    state = TrainState(jnp.int32(0), params, stats, optimizer.transform.init(params), {})
    batch, key = jax.device_put(batch_of(task["side"], task["batch"])), jax.random.key(0)
    mesh = sharding.make_mesh(1)
    function = step.jitted(config, CELEBAMASK_HQ, networks, optimizer, mesh)
    compiled = function.lower(state, batch, key).compile()
    for _ in range(3):
        state, scalars = compiled(state, batch, key)
    jax.block_until_ready(scalars)
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with tempfile.TemporaryDirectory() as folder:
        jax.profiler.start_trace(folder, create_perfetto_trace=True, profiler_options=options)
        for _ in range(_IN_A_ROW):
            state, scalars = compiled(state, batch, key)
        jax.block_until_ready(scalars)
        jax.profiler.stop_trace()
        (file,) = pathlib.Path(folder).rglob("perfetto_trace.json.gz")
        events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    names = {e["pid"]: e["args"]["name"] for e in events if e.get("name") == "process_name"}
    took: collections.Counter[str] = collections.Counter()
    times: collections.Counter[str] = collections.Counter()
    for event in events:
        on_device = "/device:" in names.get(event.get("pid"), "") or jax.default_backend() == "cpu"
        if event.get("ph") == "X" and on_device:
            took[event["name"]] += event["dur"]
            times[event["name"]] += 1
    return {
        "ms_of_a_step": {
            name: [us / 1e3 / _IN_A_ROW, times[name] / _IN_A_ROW]
            for name, us in took.most_common(task["shown"])
        }
    }


def heads(task: dict) -> dict:
    """Rendered heads a second, as `benchmarks.heads` measures them; of one repetition."""
    from benchmarks.heads import differing, rates

    on_cpu = jax.default_backend() == "cpu"
    return {
        "device": provenance.device(),
        "heads_per_s": {
            f"{size} px, {name}": rate
            for size in task["sizes"]
            for name, (rate,) in rates(size, task["count"], 1).items()
        },
        "differ_at_once": {} if on_cpu else {size: differing(size) for size in task["sizes"]},
    }


if __name__ == "__main__":
    chosen = json.loads(sys.argv[1])
    tasks = {
        function.__name__: function for function in (card, gradients, inference, kernels, heads)
    }
    print(json.dumps(tasks[chosen["do"]](chosen)), flush=True)
