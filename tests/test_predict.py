"""Prediction: sizes, sources, pairs and files, with networks whose answer is known."""

import json
import os
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import synthetic_heads
from faceparse_jax import from_config, letterbox
from faceparse_jax.checkpoints import Checkpoints
from faceparse_jax.data.augment import normalise_image
from faceparse_jax.errors import InputError
from faceparse_jax.labels import CELEBAMASK_HQ
from faceparse_jax.predict import Parser, load, predict_files
from faceparse_jax.state import Nets, init_state
from tests.conftest import ROOT

SIZE = 32
COLOURS = np.array(CELEBAMASK_HQ.colours, np.uint8)
SKIN, HAIR, CLOTH = 1, 13, 18


class NearestColour(nn.Module):
    """Parses an image by the scheme's colours."""

    @nn.compact
    def __call__(self, x, train=False):
        colours = normalise_image(jnp.asarray(COLOURS)[None, None])[0, 0]
        return (-jnp.square(x[..., None, :] - colours).sum(-1) * 20,)


class NearIsSkin(nn.Module):
    """Parses depth: near is skin, far is hair, none is background."""

    @nn.compact
    def __call__(self, x, train=False):
        d = x[..., 0]
        kinds = {0: d == -1, SKIN: (d > -1) & (d < 0), HAIR: d >= 0}
        logits = [jnp.where(kinds[c], 9.0, 0) if c in kinds else d * 0 for c in range(19)]
        return (jnp.stack(logits, -1),)


class RedIsFar(nn.Module):
    """Translates an image to the depth of its red channel."""

    @nn.compact
    def __call__(self, x, train=False):
        return (x[..., :1] * 0.229 + 0.485) * 2 - 1


def make_parser(*names, size=SIZE, batch=4):
    made = {"rgb": NearestColour, "depth": NearIsSkin, "translator": RedIsFar}
    nets = Nets(**{name: made[name]() for name in names})
    variables = {name: {} for name in names}
    return Parser(nets, variables, CELEBAMASK_HQ, size, {"step": 7}, batch)


@pytest.fixture(scope="module")
def parser():
    return make_parser("rgb", "depth", "translator")


def bands(height, width):
    """A label of three bands, and the photo that has their colours."""
    label = np.zeros((height, width), np.uint8)
    label[height // 4 :] = HAIR
    label[:, width // 2 :] = CLOTH
    return label, COLOURS[label]


def depth_like(photo, value=60):
    depth = np.full(photo.shape[:2], value, np.uint8)
    depth[: len(depth) // 2] = 0
    return depth


@pytest.mark.parametrize("shape", [(32, 32), (64, 64), (100, 60), (60, 100), (16, 16), (9, 32)])
def test_labels_lie_on_the_input_whatever_its_size(parser, shape):
    label, photo = bands(*shape)
    result = parser(image=photo, output="rgb")
    assert result.label.shape == result.confidence.shape == shape
    # Only where colours meet may a resized pixel be another class.
    ys, xs = np.indices(shape)
    far = 1 + 2 * max(shape) / SIZE
    inside = (abs(ys + 0.5 - shape[0] // 4) > far) & (abs(xs + 0.5 - shape[1] // 2) > far)
    assert inside.mean() > 0.3
    np.testing.assert_array_equal(result.label[inside], label[inside])
    assert result.confidence[inside].min() > 0.9


def test_at_the_networks_size_nothing_is_resized(parser):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 19, (SIZE, SIZE)).astype(np.uint8)
    result = parser(image=COLOURS[label], output="rgb", probabilities=True)
    np.testing.assert_array_equal(result.label, label)
    assert result.probabilities.shape == (SIZE, SIZE, 19)
    np.testing.assert_array_equal(result.probabilities.argmax(-1), label)
    np.testing.assert_allclose(result.probabilities.max(-1), result.confidence, atol=1e-3)


@pytest.mark.parametrize("shape", [(20, 80), (80, 20), (33, 47), (1, 500), (31, 32)])
def test_a_picture_keeps_its_aspect_ratio_in_the_middle_of_the_square(shape):
    rows, columns = letterbox.inside(shape, SIZE)
    fitted = np.array([rows.stop - rows.start, columns.stop - columns.start])
    assert fitted.max() == SIZE
    assert abs(fitted - np.maximum(np.array(shape) * SIZE / max(shape), 1)).max() <= 0.5
    for side in (rows, columns):
        assert abs(side.start - (SIZE - side.stop)) <= 1


@pytest.mark.parametrize(
    ("names", "given", "output", "source"),
    [
        (("rgb", "depth", "translator"), "image", None, "rgb+translated depth"),
        (("rgb", "depth", "translator"), "both", None, "rgb+depth"),
        (("rgb", "depth", "translator"), "depth", None, "depth"),
        (("rgb", "depth", "translator"), "both", "rgb", "rgb"),
        (("rgb", "depth", "translator"), "both", "depth", "depth"),
        (("rgb", "depth", "translator"), "both", "depth_translated", "translated depth"),
        (("rgb", "depth"), "image", None, "rgb"),
        (("rgb", "depth"), "both", None, "rgb+depth"),
        (("depth", "translator"), "image", None, "translated depth"),
        (("depth", "translator"), "both", None, "depth"),
        (("rgb",), "both", None, "rgb"),
    ],
)
def test_source_tells_what_the_answer_rests_on(names, given, output, source):
    _, photo = bands(40, 30)
    inputs = {}
    if given in ("image", "both"):
        inputs["image"] = photo
    if given in ("depth", "both"):
        inputs["depth"] = depth_like(photo)
    result = make_parser(*names)(**inputs, output=output)
    assert result.source == source
    assert (result.depth is not None) == ("translated" in source)
    assert result.label.shape == (40, 30)
    parts = {"rgb": CLOTH, "depth": SKIN, "translated depth": SKIN}
    if source in parts:
        assert (result.label == parts[source]).any()


def test_translated_depth_has_the_input_size(parser):
    photo = np.full((50, 70, 3), (180, 20, 20), np.uint8)
    result = parser(image=photo)
    np.testing.assert_array_equal(result.depth, np.full((50, 70), 180, np.uint8))


@pytest.mark.parametrize(
    ("names", "given", "output"),
    [
        (("rgb",), "depth", None),
        (("depth",), "image", None),
        (("rgb", "depth", "translator"), "image", "depth"),
        (("rgb", "depth", "translator"), "depth", "fusion"),
        (("rgb",), "image", "fusion"),
    ],
)
def test_inputs_that_no_network_takes_are_refused(names, given, output):
    _, photo = bands(40, 40)
    inputs = {"image": photo} if given == "image" else {"depth": depth_like(photo)}
    with pytest.raises(InputError, match="network"):
        make_parser(*names)(**inputs, output=output)


def test_a_list_gives_what_its_items_give_alone(parser):
    photos = [bands(*shape)[1] for shape in ((40, 30), (30, 40), (64, 64), (20, 20), (33, 47))]
    depths = [None, depth_like(photos[1]), None, depth_like(photos[3], 200), None]
    photos[3] = None
    together = parser(image=photos, depth=depths)
    filled = "rgb+translated depth"
    assert [r.source for r in together] == [filled, "rgb+depth", filled, "depth", filled]
    for result, photo, depth in zip(together, photos, depths, strict=True):
        alone = parser(image=photo, depth=depth)
        np.testing.assert_array_equal(result.label, alone.label)
        np.testing.assert_allclose(result.confidence, alone.confidence, atol=1e-5)
    assert parser(image=[]) == []


def test_depth_of_another_size_and_of_16_bits_fits_its_image(parser):
    _, photo = bands(64, 48)
    half = depth_like(photo)[::2, ::2]
    small, deep = (
        parser(image=photo, depth=depth, output="depth").label
        for depth in (half, half.astype(np.uint16) * 257)
    )
    assert small.shape == (64, 48)
    np.testing.assert_array_equal(small, deep)


def test_depth_without_any_depth_counts_as_absent(parser):
    _, photo = bands(32, 32)
    nothing = np.zeros((32, 32), np.uint8)
    assert parser(image=photo, depth=nothing).source == "rgb+translated depth"
    with pytest.raises(InputError, match="no depth"):
        parser(depth=nothing)


@pytest.mark.parametrize(
    "inputs",
    [
        {"image": np.zeros((8, 8, 3), np.float32)},
        {"image": np.zeros((8, 8), np.uint8)},
        {"image": np.zeros((0, 8, 3), np.uint8)},
        {"depth": np.ones((8, 8, 3), np.uint8)},
        {"depth": np.ones((8, 8), np.int32)},
        {"image": np.zeros((8, 16, 3), np.uint8), "depth": np.ones((16, 8), np.uint8)},
    ],
)
def test_arrays_of_another_form_are_refused(parser, inputs):
    with pytest.raises(InputError, match="found"):
        list(parser.stream([(inputs.get("image"), inputs.get("depth"))]))


@pytest.fixture
def photos(tmp_path):
    """A folder of three photos, two with depth in another folder."""
    for number, shape in enumerate([(40, 30), (64, 64), (20, 50)]):
        photo = bands(*shape)[1]
        for folder, name, pixels in (
            ("images", f"{number}.png", photo),
            ("depths", f"{number}{'_depth' * (number == 1)}.png", depth_like(photo)),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / name)
    (tmp_path / "depths" / "2.png").unlink()
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_folders_are_paired_and_every_file_is_written(parser, photos):
    out = photos / "new" / "out"
    predict_files(parser, photos / "images", photos / "depths", out, probabilities=True)
    kinds = ("label.png", "overlay.png", "probabilities.npz")
    expected = [f"{n}_{kind}" for n in range(3) for kind in kinds]
    assert names(out) == sorted([*expected, "2_depth.png", "predictions.json"])
    record = json.loads((out / "predictions.json").read_text())["predictions"]
    assert [record[n]["source"] for n in "012"] == ["rgb+depth"] * 2 + ["rgb+translated depth"]
    assert record["1"]["depth"].endswith("1_depth.png")
    for n, shape in (("0", (40, 30)), ("1", (64, 64)), ("2", (20, 50))):
        label = Image.open(out / f"{n}_label.png")
        assert label.mode == "P"
        assert label.size == shape[::-1] == (record[n]["width"], record[n]["height"])
        classes, counts = np.unique(np.array(label), return_counts=True)
        by_name = {CELEBAMASK_HQ.classes[c]: int(k) for c, k in zip(classes, counts, strict=True)}
        assert record[n]["pixels"] == by_name
        colours = np.array(label.convert("RGB"))
        np.testing.assert_array_equal(colours, CELEBAMASK_HQ.palette[np.array(label)])
        assert record[n]["checkpoint"]["step"] == 7
        with np.load(out / f"{n}_probabilities.npz") as arrays:
            assert arrays["probabilities"].shape == (*shape, 19)
            assert list(arrays["classes"]) == list(CELEBAMASK_HQ.classes)
    assert Image.open(out / "2_depth.png").size == (50, 20)


def test_a_pair_of_files_and_depth_alone(parser, photos):
    pair = (photos / "images" / "2.png", photos / "depths" / "0.png")
    Image.fromarray(depth_like(np.zeros((20, 50, 3), np.uint8))).save(pair[1])
    predict_files(parser, *pair, photos / "out")
    record = predict_files(parser, None, photos / "depths", str(photos / "out"))["predictions"]
    assert {stem: entry["source"] for stem, entry in record.items()} == {
        "2": "rgb+depth", "0": "depth", "1": "depth",
    }  # fmt: skip
    assert (photos / "out" / "1_overlay.png").exists()


def test_one_folder_may_hold_images_and_their_depth(parser, photos):
    (photos / "depths" / "1_depth.png").rename(photos / "images" / "1_depth.png")
    both = photos / "images"
    record = predict_files(parser, both, both, photos / "out")["predictions"]
    assert [record[n]["source"] for n in "012"] == [
        "rgb+translated depth", "rgb+depth", "rgb+translated depth",
    ]  # fmt: skip


def test_all_broken_files_are_named_and_nothing_is_written(parser, photos):
    images = photos / "images"
    whole = (images / "1.png").read_bytes()
    (images / "1.png").write_bytes(whole[: len(whole) // 2])
    (images / "7.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"2 of 4 inputs.*1\.png.*7\.jpg") as error:
        predict_files(parser, images, None, photos / "out")
    assert "0.png" not in str(error.value)
    assert not (photos / "out").exists()


def test_a_failure_half_way_leaves_whole_files_only(parser, photos, monkeypatch):
    save, calls = Image.Image.save, []

    def full_disk(self, file, *arguments, **more):
        calls.append(file)
        if len(calls) == 3:
            file.write(b"half")
            raise OSError("no space left on device")
        save(self, file, *arguments, **more)

    out = photos / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full_disk)
        with pytest.raises(InputError, match="no space left"):
            predict_files(parser, photos / "images", None, out, output="rgb")
    assert names(out) == ["0_label.png", "0_overlay.png"]
    predict_files(parser, photos / "images", None, out, output="rgb")
    assert "2_overlay.png" in names(out)


def test_own_results_are_replaced_and_other_files_never(parser, photos):
    photo, out = photos / "images" / "0.png", photos / "out"
    predict_files(parser, photo, None, out, probabilities=True)
    assert "0_depth.png" in names(out)
    predict_files(parser, photo, None, out, output="rgb")
    assert names(out) == ["0_label.png", "0_overlay.png", "predictions.json"]
    truth = out / "1_label.png"
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(truth)
    before = truth.read_bytes()
    with pytest.raises(InputError, match=r"1_label\.png"):
        predict_files(parser, photos / "images", None, out)
    assert truth.read_bytes() == before


def test_an_input_is_never_replaced_by_its_own_result(parser, photos):
    out = photos / "out"
    predict_files(parser, photos / "images" / "0.png", None, out)
    translated = out / "0_depth.png"
    with pytest.raises(InputError, match=r"0_depth\.png"):
        predict_files(parser, photos / "images" / "0.png", translated, out)
    assert translated.exists()


def test_files_that_cannot_be_told_apart_or_paired_are_refused(parser, photos):
    images, depths, out = photos / "images", photos / "depths", photos / "out"
    nowhere, empty = photos / "nowhere", photos / "empty"
    empty.mkdir()
    for wrong, says in (
        ((None, None, out), "images, depth maps or both"),
        ((nowhere, None, out), "nowhere"),
        ((empty, None, out), "no such file"),
        ((images / "notes.txt", None, out), "notes.txt"),
        ((images / "0.png", depths, out), "a file and a folder"),
        ((images, None, images), "folder of the inputs"),
        ((images, None, images / "0.png"), "a file"),
        ((images, None, images / "0.png" / "out"), "made"),
    ):
        with pytest.raises(InputError, match=says):
            predict_files(parser, *wrong)
    Image.fromarray(bands(20, 20)[1]).save(images / "0.jpg")
    with pytest.raises(InputError, match=r"0\.jpg and 0\.png"):
        predict_files(parser, images, None, out)
    (images / "0.jpg").unlink()
    (images / "0.png").unlink()
    with pytest.raises(InputError, match=r"0\.png without an image"):
        predict_files(parser, images, depths, out)
    assert not out.exists()


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run of the full system, in miniature, whose parameters are all the same number."""
    c = synthetic_heads.get_config()
    c.data.size = c.augment.crop = 32
    c.model.width, c.model.translator_features = 0.125, 4
    nets = from_config.nets(c, 19)

    def init():
        return init_state(
            jax.random.key(0), nets=nets, txs=from_config.optimizers(c), size=32, ema=False
        )

    folder = tmp_path_factory.mktemp("run")
    state = jax.tree.map(lambda x: jnp.full(x.shape, 0.01, x.dtype), jax.eval_shape(init))
    meta = {
        "config": c.to_dict(),
        "seed": 0,
        "code_version": "test",
        "dataset": {"scheme": "celebamask_hq", "merge_order": "official"},
    }
    with Checkpoints(folder, keep=1) as checkpoints:
        checkpoints.save_best(state, meta)
    return folder


def test_prediction_from_a_checkpoint_needs_no_tensorflow(workdir, photos):
    script = (
        "import sys, pathlib; from faceparse_jax.predict import load, predict_files;"
        "run, images, depths, out = sys.argv[1:];"
        "predict_files(load(run), images, depths, out);"
        "assert 'jax' in sys.modules; print('tensorflow' in sys.modules)"
    )
    arguments = [workdir, photos / "images", photos / "depths", photos / "out"]
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | quick,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.splitlines()[-1:] == ["False"], done.stderr
    record = json.loads((photos / "out" / "predictions.json").read_text())["predictions"]
    assert record["2"]["source"] == "rgb+translated depth"
    assert record["2"]["checkpoint"]["workdir"] == str(workdir)


def test_no_checkpoint_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="no checkpoint"):
        load(tmp_path)
