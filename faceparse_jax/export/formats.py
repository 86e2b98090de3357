"""The formats: how a program is written in each of them, and how its runtime calls it.

All of them are traced with plain forms (`runtime.forms`), since those for a CPU do not belong into
a program for another machine. A runtime that is needed is imported where it is used.
"""

import dataclasses
import pathlib
import tempfile
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from faceparse_jax.errors import InputError
from faceparse_jax.export.program import CHANNELS, Program
from faceparse_jax.runtime import machine
from faceparse_jax.runtime.forms import forms_for

Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
"""From inputs by name to ``label`` and ``confidence`` or ``probabilities``."""

PLATFORMS = ("cpu", "cuda", "tpu")
"""What a StableHLO program is lowered for."""

_OPSET = 18


def stablehlo(program: Program) -> bytes:
    """`Program.photograph`, for pictures of any size, as `jax.export` serialises it."""
    scope = jax.export.SymbolicScope()
    sides = ("h, w", "depth_h, depth_w")
    shapes = {
        name: jax.export.symbolic_shape(f"{side}, {CHANNELS[name]}", scope=scope)
        for name, side in zip(program.inputs, sides, strict=False)
    }
    specs = {name: jax.ShapeDtypeStruct(shape, jnp.uint8) for name, shape in shapes.items()}
    with forms_for("gpu"):
        exported = jax.export.export(jax.jit(program.photograph), platforms=PLATFORMS)(**specs)
    return bytes(exported.serialize())


def open_stablehlo(data: bytes) -> Run:
    """The program on this machine's device."""
    call = jax.jit(jax.export.deserialize(bytearray(data)).call)
    return lambda inputs: jax.device_get(call(**inputs))


def tflite(program: Program) -> bytes:
    """The parsing of inputs that fill the square, as TensorFlow's converter writes it.

    Raises:
        InputError: what the converter refuses.
    """
    import tensorflow as tf
    from jax.experimental import jax2tf

    def traced(inputs):
        with forms_for("phone" if program.phone else "gpu"):
            return program.probabilities(**inputs)

    networks = jax2tf.convert(traced, with_gradient=False, native_serialization_platforms=("cpu",))

    def parse(**inputs):
        said = networks(inputs)
        # JAX's own argmax would have its axis in a form that tf2onnx does not read.
        label = tf.cast(tf.argmax(said, -1, output_type=tf.int32), tf.uint8)
        return {"label": label, "probabilities": said}

    signature = {
        name: tf.TensorSpec((1, program.size, program.size, CHANNELS[name]), tf.uint8, name=name)
        for name in program.inputs
    }
    function = tf.function(parse, autograph=False).get_concrete_function(**signature)
    try:
        return tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module()).convert()
    except Exception as error:  # its own, and those of what it calls
        raise _refused("TensorFlow's converter", error) from error


def open_tflite(data: bytes) -> Run:
    """The program in LiteRT, on every core."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=machine.cores())
    run = interpreter.get_signature_runner()
    return lambda inputs: run(**inputs)


def onnx(program: Program) -> bytes:
    """The TFLite program, as tf2onnx writes it.

    Raises:
        InputError: what a converter refuses.
    """
    import onnx
    import tf2onnx

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "program.tflite"
        path.write_bytes(tflite(program))
        try:
            with warnings.catch_warnings(action="ignore"):  # of TensorFlow to tf2onnx
                model, _ = tf2onnx.convert.from_tflite(str(path), opset=_OPSET)
            _mend(model.graph, program)
            # tf2onnx tells of a node that it could not convert, and goes on.
            onnx.checker.check_model(model, full_check=True)
        except Exception as error:
            raise _refused("tf2onnx", error) from error
    return model.SerializeToString()


def _mend(graph: Any, program: Program) -> None:
    """Gives a graph the names of inputs and outputs, and biases of one axis."""
    from onnx import TensorProto

    names = {}
    for value in graph.input:
        names[value.name] = next(name for name in program.inputs if name in value.name)
    for value in graph.output:
        label = value.type.tensor_type.elem_type == TensorProto.UINT8
        names[value.name] = "label" if label else "probabilities"
    for value in (*graph.input, *graph.output):
        value.name = names[value.name]
    weights = {weight.name: weight for weight in graph.initializer}
    for node in graph.node:
        for words in (node.input, node.output):
            words[:] = [names.get(word, word) for word in words]
        # From TFLite they come as [1 1 1 c], which ONNX Runtime refuses.
        if node.op_type == "ConvTranspose" and len(node.input) == 3:
            bias = weights[node.input[2]]
            bias.dims[:] = [int(np.prod(bias.dims))]


def open_onnx(data: bytes) -> Run:
    """The program in ONNX Runtime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _refused(who: str, error: Exception) -> InputError:
    told = [line for line in str(error).splitlines() if "error: " in line] or [str(error)]
    return InputError(
        "the program",
        f"operations that {who} refuses ({' '.join(told[0].split())[-200:]})",
        "what it converts",
        "choose another --output, or --format stablehlo",
    )


@dataclasses.dataclass(frozen=True)
class Format:
    """A format and its runtime.

    Attributes:
        runtime: its name, and `distribution` the package that has its version.
        needs: modules that only the extra `export` brings.
        any_size: whether inputs have any size, without an axis for a batch; else they fill the
            square.
        phones: whether it can be written for the GPUs of phones.
        write: from a program to the bytes of a file.
        open: from these bytes to what runs them.
    """

    runtime: str
    distribution: str
    needs: tuple[str, ...]
    any_size: bool
    phones: bool
    write: Callable[[Program], bytes]
    open: Callable[[bytes], Run]


FORMATS: Mapping[str, Format] = {
    "stablehlo": Format(
        "JAX", "jax", ("flatbuffers",), True, False, stablehlo, open_stablehlo
    ),
    "onnx": Format(
        "ONNX Runtime", "onnxruntime",
        ("tensorflow", "onnx", "tf2onnx", "onnxruntime"),
        False, True, onnx, open_onnx,
    ),
    "tflite": Format(
        "LiteRT", "ai-edge-litert", ("tensorflow", "ai_edge_litert"),
        False, True, tflite, open_tflite,
    ),
}  # fmt: skip
"""By the end of a file's name."""
