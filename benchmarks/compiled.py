"""What the compiled programs cost on TPUs and GPUs, without one: XLA compiles for other machines.

    python -m benchmarks.compiled --topology v5e:2x2
    python -m benchmarks.compiled --topology v6e:2x4 --programs step --rows 32
    python -m benchmarks.compiled --topology h200 --programs step --rows 16

The programs are the training step of the full system at full size, the counting of evaluation and
prediction, in bfloat16 and with so many rows a device. Prints for each of them the seconds of
compilation, and for each device the arithmetic, the bytes that its instructions read and write
by XLA's count, the memory of temporaries, and the collectives; then the lines of source whose
instructions read and write the most bytes of the main memory.

JAX_EXEC_TIME_OPTIMIZATION_EFFORT=-1 compiles in a tenth of the time: XLA then keeps nothing in
the chip's own memory beyond an instruction.

libtpu, 1 GB, is installed into a folder of its own, .venv-libtpu or $LIBTPU, in the version that
this JAX asks for. So is JAX's plugin for NVIDIA GPUs with CUDA, 5 GB, into .venv-cuda or $CUDA.
For a GPU nothing is tuned by trial, XLA does not count the arithmetic of libraries, and h200:8 is
eight of them.
"""

import argparse
import collections
import functools
import importlib.metadata
import math
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[1]
PROGRAMS = ("step", "evaluation", "prediction")


def find(package: str, variable: str, there: str, *options: str) -> pathlib.Path:
    """The folder of a package that JAX asks for, which is installed where it is missing.

    Args:
        package: as JAX's own requirements name it.
        variable: of the environment, which names the folder in place of .venv-NAME.
        there: a path in the folder that shows that it is installed.
    """
    folder = pathlib.Path(os.environ.get(variable, ROOT / f".venv-{variable.lower()}"))
    if not (folder / there).exists():
        asked = [name for name in importlib.metadata.requires("jax") if name.startswith(package)]
        wanted = asked[0].partition(";")[0].strip()
        print(f"installing {wanted} into {folder} (some minutes)", file=sys.stderr)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", *options]
        if subprocess.run([*pip, "--target", str(folder), wanted]).returncode:
            sys.exit(
                f"error: {folder}: found no {package} and pip failed, expected {wanted}; next: "
                f"install it elsewhere with pip install --target FOLDER, and set {variable}=FOLDER"
            )
    return folder


# They are read when JAX starts, and keep libtpu from asking for the machine that it is on.
os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_ID": "0",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # no device is opened
}

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from faceparse_jax.config import parse
from faceparse_jax.configs import base, recipes
from faceparse_jax.evaluation import counting
from faceparse_jax.evaluation.scoring import Scoring
from faceparse_jax.labels import CELEBAMASK_HQ
from faceparse_jax.models import system
from faceparse_jax.models.inference import inference_variables, predict
from faceparse_jax.runtime import sharding, tables
from faceparse_jax.runtime.forms import forms_for
from faceparse_jax.training import optim, step
from faceparse_jax.training.setup import init_state

# What CUDA tells of these cards, in the form of XLA's stream_executor/device_description.proto.
_GPU = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  cuda_compute_capability { major: 9 } clock_rate_ghz: 1.98 %s
}
platform_name: "CUDA" device_description_str: "NVIDIA %s"
dnn_version_info { major: 9 minor: 12 }
"""
GPUS = {
    "h100": "memory_bandwidth: 3352000000000 l2_cache_size: 52428800 "
    "device_memory_size: 84978434048",
    "h200": "memory_bandwidth: 4800000000000 l2_cache_size: 62914560 "
    "device_memory_size: 150754820096",
}


# Without a device to try tiles on, XLA's Triton finds none for some products.
_OPTIONS = {"xla_gpu_enable_triton_gemm": False}


def topology_mesh(name: str) -> Mesh:
    """A mesh over the devices of a topology, as training has it."""
    card, _, count = name.partition(":")
    if card in GPUS:
        sys.path.append(str(find("jax-cuda13-plugin", "CUDA", "jax_plugins")))
        topology = topologies.get_topology_desc(
            platform="cuda",
            topology=f"1x1x{count or 1}",
            target_config=_GPU % (GPUS[card], card.upper()),
        )
        return Mesh(np.array(topology.devices), ("data",))
    library = find("libtpu", "LIBTPU", "libtpu/libtpu.so", "--no-deps") / "libtpu" / "libtpu.so"
    os.environ["TPU_LIBRARY_PATH"] = str(library)
    try:
        topology = topologies.get_topology_desc(platform="tpu", topology_name=name)
    except Exception as error:  # libtpu's own words for what it does not know
        sys.exit(
            f"error: --topology {name}: found {str(error).splitlines()[0]}, expected a topology "
            f"that libtpu knows, {' or '.join(GPUS)}; next: try v5e:2x2, v6e:2x2 or h100:8"
        )
    return Mesh(np.array(topology.devices), ("data",))


def lowered(program: str, mesh: Mesh, rows: int, size: int, crop: int, dtype: str):
    """A program of the full system, lowered for the mesh's devices."""
    config = recipes.full_system(recipes.at_512(base.get_config()))
    config.data.size, config.augment.crop, config.model.dtype = size, crop, dtype
    config.train.batch = batch = rows * mesh.size
    config = parse(config)
    networks = system.build(config, CELEBAMASK_HQ.num_classes)
    optimizer = optim.build(config, networks)
    init = functools.partial(
        init_state, system=networks, optimizer=optimizer, size=crop, ema=config.train.ema > 0
    )
    state = jax.eval_shape(init, jax.random.key(0))
    shapes = {
        "image": ((batch, size, size, 3), np.uint8),
        "depth": ((batch, size, size, 1), np.uint8),
        "label": ((batch, size, size), np.uint8),
        "has_depth": ((batch,), bool),
        "mask": ((batch,), bool),
    }
    arrays = {name: jax.ShapeDtypeStruct(*shape) for name, shape in shapes.items()}
    whole, split = sharding.replicated(mesh), sharding.by_row(mesh)
    platforms = (mesh.devices.flat[0].platform.replace("gpu", "cuda"),)
    if program == "step":
        del arrays["mask"]
        function = step.jitted(config, CELEBAMASK_HQ, networks, optimizer, mesh)
        key = jax.eval_shape(lambda: jax.random.key(0))
        return function.trace(state, arrays, key).lower(lowering_platforms=platforms)
    variables = jax.eval_shape(lambda: inference_variables(state.params, state.batch_stats))
    if program == "evaluation":
        function = counting.make_eval_step(networks, Scoring(CELEBAMASK_HQ.num_classes), mesh)
    else:
        del arrays["mask"], arrays["label"]
        function = jax.jit(
            functools.partial(predict, system=networks),
            in_shardings=(whole, split),
            out_shardings=split,
        )
    return function.trace(variables, arrays).lower(lowering_platforms=platforms)


def collectives(text: str) -> str:
    """How many of each kind there are in a program."""
    names = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
    found = collections.Counter(re.findall(rf" ({names})(?:-start)?\(", text))
    return ", ".join(f"{count} {name}" for name, count in sorted(found.items())) or "none"


_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4, "s32": 4,
          "u32": 4, "s64": 8, "u64": 8, "f64": 8}  # fmt: skip
_SHAPE = re.compile(r"\b(pred|[subf]f?\d+)\[([\d,]*)\](\{[^}]*\})?")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%(\S+) = (.*?) ([a-z][\w-]*)\((.*)$")
# They move nothing, or their parts are counted elsewhere.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional",
         "after-all", "partition-id", "iota", "copy-done", "slice-done"}  # fmt: skip


def _arrays(shapes: str, *, own: bool = False) -> list[int]:
    """Bytes of the arrays of a shape; 0 for those in a TPU's own memory, S(1), without `own`."""
    return [
        _BYTES.get(kind, 4) * int(np.prod([int(n) for n in sides.split(",") if n] or [1]))
        * (own or "S(1)" not in layout)
        for kind, sides, layout in _SHAPE.findall(shapes)
    ]  # fmt: skip


def consumers(text: str) -> list[tuple[str, int]]:
    """Lines of source and the bytes of memory that their instructions read and write.

    Counted over the instructions outside of fusions, once where they stand in a loop; the most
    first. What the compiler added, such as a copy, belongs to the line that made its operand.
    """
    source = _places(text)
    sizes: dict[str, int] = {}
    places: dict[str, str] = {}
    moved: collections.Counter[str] = collections.Counter()
    inside_fusion = False
    for line in text.splitlines():
        if line.startswith(("%", "ENTRY")):
            inside_fusion = line.startswith("%fused") or "fused_computation" in line.split("(")[0]
            inside_fusion |= line.startswith(("%region", "%wrapped", "%add", "%max", "%min"))
            continue
        match = _INSTRUCTION.match(line)
        if not match or inside_fusion:
            continue
        name, shapes, kind, rest = match.groups()
        operands = re.findall(r"%([\w.-]+)", rest.partition("), ")[0])
        made = (places[operand] for operand in operands if operand in places)
        places[name] = where = source(line) or next(made, "no source")
        if kind in ("copy-start", "slice-start"):
            # (operand, result, mark), or with the two the other way round: the part that moves.
            sizes[name] = 0
            moved[where] += min(_arrays(shapes, own=True)[:2])
            continue
        sizes[name] = sum(_arrays(shapes))
        if kind not in _FREE:
            moved[where] += sizes[name] + sum(sizes.get(operand, 0) for operand in operands)
    return moved.most_common()


def _places(text: str):
    """A function from an instruction to the line of source that it comes from, if it tells."""

    def table(title):
        match = re.search(rf"^{title}\n((?:\d+ .*\n)+)", text, re.MULTILINE)
        rows = match.group(1).splitlines() if match else []
        return {int(row.split(" ", 1)[0]): row.split(" ", 1)[1] for row in rows}

    files, locations, frames = map(table, ("FileNames", "FileLocations", "StackFrames"))

    def number(key, row):
        found = re.search(rf"{key}=(\d+)", row)
        return int(found.group(1)) if found else 0

    def place(line):
        frame = number("stack_frame_id", line)
        while frame in frames:
            row = locations.get(number("file_location_id", frames[frame]), "")
            name = files.get(number("file_name_id", row), "").strip('"')
            if "faceparse_jax" in name:
                short = name[name.rindex("faceparse_jax/") :]
                return f"{short}:{number('line', row)}"
            frame = number("parent_frame_id", frames[frame]) - 1  # counted from 1, 1 is none
        named = re.search(r'op_name="([^"]*)"', line)
        return named.group(1)[-60:] if named else ""

    return place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--topology", default="v5e:2x2")
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=PROGRAMS)
    parser.add_argument("--rows", type=int, default=8, help="examples a device")
    parser.add_argument("--size", type=int, default=512, help="side of the pictures")
    parser.add_argument("--crop", type=int, default=448, help="side of the training crop")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--shown", type=int, default=10, help="lines of source")
    parser.add_argument("--text", type=pathlib.Path, help="a folder for the programs' text")
    args = parser.parse_args()
    mesh = topology_mesh(args.topology)
    kind = mesh.devices.flat[0].device_kind
    effort = jax.config.jax_exec_time_optimization_effort
    print(
        f"{args.topology}: {mesh.size} x {kind}, {args.rows} rows a device, {args.dtype}, "
        f"effort {effort:g}"
    )
    rows = [("program", "s to trace", "s to compile", "TFLOP", "GB moved", "GiB temporaries",
             "GiB arguments", "collectives")]  # fmt: skip
    largest = {}
    for program in args.programs:
        start = time.perf_counter()
        with forms_for(mesh.devices.flat[0].platform.replace("cuda", "gpu")):
            low = lowered(program, mesh, args.rows, args.size, args.crop, args.dtype)
        traced = time.perf_counter()
        compiled = low.compile(_OPTIONS if kind.startswith("NVIDIA") else None)
        done = time.perf_counter()
        cost, memory, text = (
            compiled.cost_analysis() or {},  # None for a GPU with JAX 0.10
            compiled.memory_analysis(),
            compiled.as_text(),
        )
        if args.text:
            args.text.mkdir(parents=True, exist_ok=True)
            (args.text / f"{program}.hlo").write_text(text)
        rows.append((
            program, f"{traced - start:.0f}", f"{done - traced:.0f}",
            f"{cost.get('flops', math.nan) / 1e12:.2f}",
            f"{cost.get('bytes accessed', math.nan) / 1e9:.1f}",
            f"{memory.temp_size_in_bytes / 2**30:.2f}",
            f"{memory.argument_size_in_bytes / 2**30:.2f}", collectives(text),
        ))  # fmt: skip
        largest[program] = consumers(text)
        print(*tables.aligned([rows[0], rows[-1]]), sep="\n", flush=True)
        for where, count in largest[program][: args.shown]:
            print(f"  {count / 1e9:7.2f} GB  {where}")
    print(*tables.aligned(rows), sep="\n")


if __name__ == "__main__":
    main()
