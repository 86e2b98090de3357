"""Times of the networks: forward and forward with backward, in both forms of the operations.

    python -m benchmarks.models --size 112 --batch 16
    python -m benchmarks.models --nets translator --forms cpu --repeats 9

Wall seconds and, in brackets, CPU seconds of the process: median over the repeats, and
spread as half the distance from fastest to slowest. The backward pass reaches the
parameters and the input, as the end-to-end term needs.
"""

import argparse
import functools
import statistics
import time

import flax.linen as nn
import jax
import jax.numpy as jnp

from faceparse_jax.models.bisenet import BiSeNet
from faceparse_jax.models.pix2pix import PatchGAN, UNet, unet_levels
from faceparse_jax.runtime.forms import forms_for

NETS = ("parser", "translator", "discriminator")


def make(name: str, args: argparse.Namespace) -> tuple[nn.Module, tuple[int, ...]]:
    """A network and the channels of its inputs."""
    dtype = jnp.dtype(args.dtype)
    if name == "parser":
        return BiSeNet(19, args.backbone, args.width, dtype), (3,)
    if name == "translator":
        return UNet(unet_levels(args.size), dtype=dtype), (3,)
    return PatchGAN(dtype=dtype), (3, 1)


def forward(variables, inputs, *, net):
    return net.apply(variables, *inputs)


def forward_and_backward(variables, inputs, *, net):
    def loss(params, inputs):
        out, new = net.apply(
            {**variables, "params": params}, *inputs, train=True, mutable=["batch_stats"]
        )
        return sum(jnp.mean(jnp.square(leaf)) for leaf in jax.tree.leaves(out)), new

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(variables["params"], inputs)


def times(function, arguments, repeats: int) -> str:
    """Compiles, runs once unmeasured, and times."""
    start = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    compiling = time.perf_counter() - start
    wall, cpu = [], []
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        jax.block_until_ready(function(*arguments))
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)

    def told(values):
        return f"{statistics.median(values):7.3f} ±{(max(values) - min(values)) / 2:6.3f}"

    return f"{told(wall)} s ({told(cpu)} CPU-s), first call {compiling:5.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=112, help="side of the images")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=NETS)
    parser.add_argument("--forms", nargs="+", choices=("cpu", "plain"), default=("cpu", "plain"))
    parser.add_argument("--backbone", type=int, choices=(18, 34, 50), default=18)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    args = parser.parse_args()

    print(f"{jax.devices()[0].device_kind}, {args.size} px, batch {args.batch}, {args.dtype}")
    for name in args.nets:
        net, channels = make(name, args)
        keys = jax.random.split(jax.random.key(0), len(channels))
        inputs = tuple(
            jax.random.normal(key, (args.batch, args.size, args.size, c))
            for key, c in zip(keys, channels, strict=True)
        )
        variables = jax.jit(net.init)(jax.random.key(1), *(x[:1] for x in inputs))
        count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        print(f"{name}: {count:,} parameters")
        for form in args.forms:
            with forms_for("cpu" if form == "cpu" else "gpu"):
                for step in (forward, forward_and_backward):
                    run = jax.jit(functools.partial(step, net=net))
                    line = times(run, (variables, inputs), args.repeats)
                    print(f"  {form:5s} {step.__name__:20s} {line}", flush=True)


if __name__ == "__main__":
    main()
