"""Public weights as packed files, which stand for workdirs."""

import functools
import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from faceparse_jax.checkpoints import pack, packed
from faceparse_jax.checkpoints.card import card, licence
from faceparse_jax.checkpoints.imported import import_weights
from faceparse_jax.checkpoints.trained import load_backbone, load_trained
from faceparse_jax.data import overlap
from faceparse_jax.data.splits import Split
from faceparse_jax.errors import InputError
from faceparse_jax.images.normalise import IMAGE_MEAN, IMAGE_STD
from faceparse_jax.labels import CELEBAMASK_HQ_BISENET
from faceparse_jax.models.torch_weights import from_torch_state
from faceparse_jax.prediction.parser import load
from tests.support import torch_golden


def public(path, case, **changed):
    """A file of weights in the layout of a case."""
    state = {k: np.asarray(v) for k, v in torch_golden.state(case).items()}
    path.write_bytes(safetensors.numpy.save(state | changed))
    return path


@functools.cache
def weights(case):
    return from_torch_state(torch_golden.state(case))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def parser(folder):
    out = folder / "parser.safetensors"
    import_weights(public(folder / "public.safetensors", "zllrunning18"), out)
    return out


@pytest.fixture(scope="module")
def backbone(folder):
    out = folder / "resnet.safetensors"
    import_weights(public(folder / "resnet18.safetensors", "torchvision18"), out)
    return out


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(functools.partial(np.testing.assert_array_equal, strict=True), a, b)


def test_a_parser_opens_as_a_workdir_does(parser):
    run = load_trained(parser)
    assert run.system.networks() == ("rgb",)
    assert run.scheme is CELEBAMASK_HQ_BISENET
    assert (run.config.data.size, run.config.data.config) == (512, "bisenet")
    # In single precision: half would move the logits by more than PyTorch and this differ.
    assert_equal(run.params["rgb"], weights("zllrunning18").params)
    assert_equal(run.batch_stats["rgb"], weights("zllrunning18").batch_stats)


def test_what_is_known_of_weights_travels_with_them(parser, folder):
    meta = load_trained(parser).meta
    source = meta["source"]
    assert "zllrunning/face-parsing.PyTorch" in source["project"]
    assert "facexlib" in source["project"]
    assert (source["file"], source["code_licence"]) == ("public.safetensors", "MIT")
    assert "non-commercial" in source["licence"]
    assert (tuple(source["mean"]), tuple(source["std"])) == (IMAGE_MEAN, IMAGE_STD)
    assert len(meta["unused"]) == 31
    assert all(name.endswith("num_batches_tracked") for name in meta["unused"])
    record = load(parser).record["imported"]
    assert record == source
    assert str(folder).encode() not in parser.read_bytes()


def test_a_prediction_has_the_classes_of_the_weights(parser):
    """The same square gives the logits of the network, in the scheme whose order it has."""
    photo = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    result = load(parser)(photo, probabilities=True, crop="none")
    assert result.scheme is CELEBAMASK_HQ_BISENET
    of = weights("zllrunning18")
    net = load_trained(parser).system.rgb
    x = (photo[None] / 255 - np.array(IMAGE_MEAN)) / np.array(IMAGE_STD)
    variables = {"params": of.params, "batch_stats": of.batch_stats}
    main, _, _ = jax.jit(net.apply)(variables, x.astype(np.float32))
    want = np.asarray(jax.nn.softmax(main[0]))
    np.testing.assert_allclose(np.float32(result.probabilities), want, atol=1e-3)
    sure = np.sort(want, -1)[..., -1] - np.sort(want, -1)[..., -2] > 1e-3
    assert sure.mean() > 0.9
    assert np.array_equal(result.label[sure], want.argmax(-1)[sure])


def test_the_card_of_a_parser(parser):
    text = parser.with_suffix(".md").read_text()
    assert text == pack.card_of(parser)
    for told in (
        "`public.safetensors`", "`celebamask_hq_bisenet`", "non-commercial", "MIT licence",
        "None were measured here", "single precision", "Personal data", "Intended use",
        "too high", "(0.485, 0.456, 0.406)", "*.num_batches_tracked",
    ):  # fmt: skip
        assert told in text


def test_the_card_of_a_program_made_of_a_parser(parser):
    """It has its own opening, and the terms of the weights."""
    trained = load_trained(parser)
    text = card("a.onnx", trained, "This file is a program.", ["import onnxruntime"], {"size": "1"})
    whole = " ".join(text.split())
    assert "# a.onnx <!-- faceparse_jax wrote this card" in whole
    assert "This file is a program. A face is divided into the 19 classes" in whole
    assert "It was imported from" in whole
    assert "load(" not in whole
    assert "| size | 1 |" in text.splitlines()
    assert "Faces are personal data" in whole
    assert whole.endswith(licence(trained))
    assert trained.meta["source"]["licence"] in licence(trained)


def test_a_parser_can_be_packed_in_half_precision(parser, tmp_path):
    again = tmp_path / "half.safetensors"
    card = pack.pack(parser, "best", (), again).read_text()
    assert "half precision" in card
    assert "`public.safetensors`" in card
    assert again.stat().st_size < 0.6 * parser.stat().st_size


def test_scores_of_other_imported_weights_are_refused(parser, tmp_path):
    run = load_trained(parser)
    said = {
        "imported": run.meta["source"], "flip": False, "scoring_resolution": 512,
        "scored_in_scheme": run.scheme.name, "scored_on": {},
    }  # fmt: skip
    scores = {"provenance": said, "classes": ["skin"], "routes": {"rgb": {"f1/mean": 0.5}}}
    path = tmp_path / "test_best.json"
    path.write_text(json.dumps(scores))
    assert pack.score(path, run)["routes"] == {"rgb": {"f1/mean": 0.5}}
    said["imported"] = run.meta["source"] | {"sha256": "another file"}
    path.write_text(json.dumps(scores))
    with pytest.raises(InputError, match="scores of other networks"):
        pack.score(path, run)


def test_the_same_weights_give_the_same_bytes(parser, folder, tmp_path):
    again = tmp_path / "again.safetensors"
    import_weights(folder / "public.safetensors", again)
    assert again.read_bytes() == parser.read_bytes()


def test_a_backbone_parses_nothing(backbone):
    found = load_backbone(backbone)
    assert found.config.model.backbone == 18
    assert_equal(found.params, weights("torchvision18").params)
    assert_equal(found.batch_stats, weights("torchvision18").batch_stats)
    with pytest.raises(InputError, match="a backbone alone"):
        load_trained(backbone)
    text = backbone.with_suffix(".md").read_text()
    assert "--config.model.init=resnet.safetensors" in text
    assert "ImageNet" in text
    assert "`fc.bias`, `fc.weight`" in text


def test_a_parser_is_no_backbone_alone(parser):
    assert load_backbone(parser) is None


def test_the_layout_of_yakhyo_has_its_classifier_listed(tmp_path):
    weights = public(tmp_path / "a.safetensors", "yakhyo34")
    imported = import_weights(weights, tmp_path / "out.safetensors")
    assert "fpn.backbone.fc.weight" in imported.converted.unused
    run = load_trained(tmp_path / "out.safetensors")
    assert run.config.model.backbone == 34
    assert run.meta["source"]["project"] == "yakhyo/face-parsing"
    assert "`fpn.backbone.fc.weight`" in imported.card.read_text()


@pytest.mark.parametrize("key", ["mean", "std"])
def test_another_normalisation_is_refused(parser, tmp_path, key):
    label, tensors = packed.read(parser)
    meta = label["meta"]
    other = meta["source"] | {key: [0.5, 0.5, 0.5]}
    changed = {**label, "meta": meta | {"source": other}}
    path = tmp_path / "a.safetensors"
    path.write_bytes(packed.contents(changed, tensors))
    with pytest.raises(InputError, match=r"normalised by .*\(0\.5, 0\.5, 0\.5\)"):
        load_trained(path)


def test_scores_on_photographs_that_the_weights_saw_are_warned_of(parser, tmp_path):
    meta = load_trained(parser).meta

    def told(name, **of):
        scored = Split(
            name=name, config="bisenet", split="test", version="1.0.0", directory=tmp_path,
            num_examples=1, with_depth=1, scheme=CELEBAMASK_HQ_BISENET, merge_order="bisenet",
            depth_source="", depth_bits=8, label_size=None, fingerprint="",
        )  # fmt: skip
        return overlap.leaks({**meta, **of}, scored, list)

    assert "too high" in told("celebamask_hq_d")
    assert told("lapa_d") == ""
    # Those of a run that began from them, too.
    init = [{"trained_on": ["celebamask_hq/all"]}]
    own = {"name": "lapa_d", "config": "official"}
    assert "too high" in told("celebamask_hq_d", dataset=own, init=init)
