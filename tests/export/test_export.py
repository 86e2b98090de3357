"""Networks in other formats: they say what the parser says, or nothing is kept."""

import dataclasses
import hashlib
import importlib.util
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from faceparse_jax.checkpoints import packed
from faceparse_jax.checkpoints.trained import load_trained
from faceparse_jax.data.synthetic import heads
from faceparse_jax.errors import InputError
from faceparse_jax.export import compare, export, formats
from faceparse_jax.export.program import Program
from faceparse_jax.models import ops
from faceparse_jax.prediction.parser import parser_of
from faceparse_jax.runtime import forms
from tests.support.places import ROOT

SIDE = 64
NEEDED = ("ai_edge_litert", "onnx", "onnxruntime", "tf2onnx")
converters = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, NEEDED)), reason="the extra 'export' is not installed"
)


@pytest.fixture(scope="module")
def networks():
    """Those that ship, for a smaller square, so that they are fast."""
    trained = load_trained(packed.HEADS)
    return dataclasses.replace(trained, config=trained.config.replaced(data={"size": SIDE}))


@pytest.fixture(autouse=True)
def _opened(networks, monkeypatch):
    monkeypatch.setattr(export, "load_trained", lambda *_: networks)
    monkeypatch.setattr(compare, "_CALLS", 2)


def written(out, **settings):
    """Exports, and returns the record, the card and the bytes."""
    card = export.export(None, "best", out.suffix[1:], out, **settings)
    assert card == out.with_name(f"{out.name}.md")
    record = json.loads(out.with_name(f"{out.name}.json").read_text())
    return record, card.read_text(), out.read_bytes()


def check(record, card, data, inputs, route):
    assert record["sha256"] == hashlib.sha256(data).hexdigest()
    assert record["sha256"] in card
    assert list(record["inputs"]) == inputs
    assert record["route"] == route
    assert record["classes"][1] == {"id": 1, "name": "skin", "colour": [232, 190, 160]}
    assert len(record["classes"]) == 19
    assert record["licence"].startswith("MIT, as the code")
    assert record["agreement"]["labels"] > 0.999
    assert 0 < record["agreement"]["confidence"] < 0.001
    for line in ("Faces are personal data", "Rendered heads alone", "| mean F1 |"):
        assert line in card
    assert record["networks"]["config_sha256"] in card


def test_stablehlo_takes_pictures_of_any_size_and_needs_jax_alone(networks, tmp_path, capsys):
    out = tmp_path / "program.stablehlo"
    record, card, data = written(out, output="rgb")
    check(record, card, data, ["image"], "rgb")
    assert record["platforms"] == ["cpu", "cuda", "tpu"]
    printed = capsys.readouterr().out
    assert "on 5 rendered heads, beside the parser: 1" in printed
    assert "one input, median of 20 calls in turn on" in printed
    assert len(data) < 1.1 * 4 * sum(leaf.size for leaf in jax.tree.leaves(networks.params["rgb"]))
    head = heads.rendered([600_007], SIDE)["image"][0][:, 10:50]
    np.save(tmp_path / "photo.npy", head)
    script = (ROOT / "docs" / "run_stablehlo.py").read_text()
    assert len(script.splitlines()) <= 20
    alone = "import sys\nsys.modules['faceparse_jax'] = sys.modules['flax'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", alone + script, out, "photo.npy", "label.npy"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    label = np.load(tmp_path / "label.npy")
    wanted = parser_of(networks)(image=head, output="rgb", crop="none").label
    assert (label == wanted).mean() > 0.999
    assert "background" in done.stdout


@converters
def test_onnx_of_both_parsers_on_both_inputs(tmp_path):
    record, card, data = written(tmp_path / "program.onnx", input="both")
    check(record, card, data, ["image", "depth"], "fusion")
    assert record["outputs"]["probabilities"] == ["float32", [1, SIDE, SIDE, 19]]
    # The parser gives another answer without depth, so that depth is read.
    head = heads.rendered([600_007], SIDE)
    run = formats.open_onnx(data)
    given = {name: head[name] for name in ("image", "depth")}
    said = run(given)
    assert said["label"].dtype == np.uint8
    without = run(given | {"depth": np.zeros_like(head["depth"])})
    assert np.abs(said["probabilities"] - without["probabilities"]).max() > 0.1
    np.testing.assert_allclose(said["probabilities"].sum(-1), 1, atol=1e-5)


@converters
def test_tflite_for_phones_has_nothing_that_their_gpus_refuse(tmp_path):
    record, card, data = written(tmp_path / "program.tflite", output="rgb", phone=True)
    check(record, card, data, ["image"], "rgb")
    assert "| for the GPUs of phones | yes |" in card
    operations, axes = operations_of(data)
    assert {"CONV_2D", "MAX_POOL_2D"} <= operations
    refused = {"PADV2", "AVERAGE_POOL_2D", "RESIZE_BILINEAR", "BROADCAST_TO", "BATCH_MATMUL"}
    assert not operations & refused
    assert axes <= 4


@converters
def test_tflite_of_depth_has_them_where_no_phone_is_asked_for(tmp_path):
    record, card, data = written(tmp_path / "program.tflite", input="depth")
    check(record, card, data, ["depth"], "depth")
    operations, axes = operations_of(data)
    assert {"PADV2", "BATCH_MATMUL"} <= operations
    assert axes == 5


@pytest.mark.parametrize(
    ("name", "phone"), [("stablehlo", False), ("tflite", False), ("tflite", True)]
)
def test_no_form_is_one_for_this_cpu(name, phone, networks, monkeypatch):
    asked = set()

    def platform():
        asked.add(forms.platform())
        return forms.platform()

    monkeypatch.setattr(ops, "platform", platform)
    getattr(formats, name)(Program(networks, "rgb", ("image",), SIDE, phone))
    assert asked == {"phone" if phone else "gpu"}


def operations_of(data):
    """The names of the operations of a TFLite program, and the most axes of their results."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    shapes = {t["index"]: t["shape"] for t in interpreter.get_tensor_details()}
    operations = interpreter._get_ops_details()
    axes = max(len(shapes[index]) for of in operations for index in of["outputs"])
    return {of["op_name"] for of in operations}, axes


def other_labels(data):
    run = formats.open_stablehlo(data)
    return lambda inputs: run(inputs) | {"label": run(inputs)["label"] + np.uint8(1)}


def no_numbers(data):
    run = formats.open_stablehlo(data)
    return lambda inputs: run(inputs) | {"confidence": run(inputs)["confidence"] * np.nan}


@pytest.mark.parametrize(
    ("wrong", "says"), [(other_labels, "0.000 % of the labels"), (no_numbers, "nan apart")]
)
def test_a_program_that_disagrees_is_not_kept(wrong, says, tmp_path, monkeypatch):
    changed = dataclasses.replace(formats.FORMATS["stablehlo"], open=wrong)
    monkeypatch.setitem(formats.FORMATS, "stablehlo", changed)
    with pytest.raises(InputError, match=f"{says}.*so that nothing was kept"):
        export.export(None, "best", "stablehlo", tmp_path / "a.stablehlo", output="rgb")
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_where_the_card_cannot_be_written(tmp_path, monkeypatch):
    write = packed.write

    def failing(path, data):
        if path.suffix == ".md":
            raise InputError(str(path), "no room", "room", "make room")
        write(path, data)

    monkeypatch.setattr(packed, "write", failing)
    with pytest.raises(InputError, match="no room"):
        export._write(tmp_path / "a.onnx", b"1", {}, "card")
    assert not list(tmp_path.iterdir())


def test_what_a_converter_refuses_is_told_in_a_sentence(networks, tmp_path, monkeypatch):
    program = Program(networks, "rgb", ("image",), SIDE)
    usual = Program.probabilities

    def refused(self, **square):
        return jax.lax.sort(usual(self, **square), dimension=1)

    monkeypatch.setattr(Program, "probabilities", refused)
    with pytest.raises(InputError, match="operations that TensorFlow's converter refuses") as told:
        formats.tflite(program)
    assert "\n" not in str(told.value)


@converters
def test_a_missing_module_is_told_with_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"no module onnxruntime.*faceparse_jax\[export\]"):
        export.export(None, "best", "onnx", tmp_path / "a.onnx")


def test_an_earlier_export_is_replaced_and_another_file_is_not(tmp_path):
    out = tmp_path / "a.onnx"
    mark = {"what": export._RECORD, "sha256": hashlib.sha256(b"1").hexdigest()}
    export._write(out, b"1", mark, export.MARK)
    export._check_out(out, "onnx")
    out.write_bytes(b"2")
    with pytest.raises(InputError, match="found another file"):
        export._check_out(out, "onnx")
