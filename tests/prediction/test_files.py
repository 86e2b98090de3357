"""Prediction of files: pairs, names, whole results or none."""

import functools
import json
import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import ExifTags, Image

from faceparse_jax.checkpoints.store import Checkpoints
from faceparse_jax.config import parse
from faceparse_jax.configs import synthetic_heads
from faceparse_jax.errors import InputError
from faceparse_jax.labels import CELEBAMASK_HQ
from faceparse_jax.models.system import build
from faceparse_jax.prediction.files import Settings, Unparsed, predict_files
from faceparse_jax.prediction.parser import load
from faceparse_jax.training import optim
from faceparse_jax.training.setup import init_state
from tests.support.known_parser import (
    COLOURS,
    bands,
    depth_like,
    make_parser,
    names,
    recorded,
)
from tests.support.places import ROOT

WHOLE, RGB, PROBABILITIES = Settings(), Settings(output="rgb"), Settings(probabilities=True)
UNCERTAINTY = Settings(uncertainty=True)


def test_folders_are_paired_and_every_file_is_written(parser, photos):
    out = photos / "new" / "out"
    predict_files(parser, photos / "images", photos / "depths", out, PROBABILITIES)
    kinds = ("label.png", "colours.png", "overlay.png", "probabilities.npz")
    expected = [f"{n}_{kind}" for n in range(3) for kind in kinds]
    assert names(out) == sorted([*expected, "2_depth.png", "predictions.json"])
    record = json.loads((out / "predictions.json").read_text())["predictions"]
    assert [record[n]["source"] for n in "012"] == ["rgb+depth"] * 2 + ["rgb+translated depth"]
    assert record["1"]["depth"].endswith("1_depth.png")
    for n, shape in (("0", (40, 30)), ("1", (64, 64)), ("2", (20, 50))):
        label = Image.open(out / f"{n}_label.png")
        assert label.mode == "L"
        assert label.size == shape[::-1] == (record[n]["width"], record[n]["height"])
        classes, counts = np.unique(np.array(label), return_counts=True)
        by_name = {CELEBAMASK_HQ.classes[c]: int(k) for c, k in zip(classes, counts, strict=True)}
        assert record[n]["pixels"] == by_name
        colours = np.array(Image.open(out / f"{n}_colours.png").convert("RGB"))
        np.testing.assert_array_equal(colours, CELEBAMASK_HQ.palette[np.array(label)])
        assert record[n]["checkpoint"]["step"] == 7
        with np.load(out / f"{n}_probabilities.npz") as arrays:
            assert arrays["probabilities"].shape == (*shape, 19)
            assert list(arrays["classes"]) == list(CELEBAMASK_HQ.classes)
    assert Image.open(out / "2_depth.png").size == (50, 20)


def test_a_pair_of_files_and_depth_alone(parser, photos):
    pair = (photos / "images" / "2.png", photos / "depths" / "0.png")
    Image.fromarray(depth_like(np.zeros((20, 50, 3)))).save(pair[1])
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


def test_uncertainty_is_written_as_a_grey_picture(parser, photos):
    photo, out = photos / "images" / "0.png", photos / "out"
    entry = predict_files(parser, photo, None, out, UNCERTAINTY)["predictions"]["0"]
    assert entry["written"]["uncertainty"] == "0_uncertainty.png"
    picture = Image.open(out / "0_uncertainty.png")
    assert picture.mode == "L"
    expected = parser(photo, uncertainty=True).uncertainty
    np.testing.assert_array_equal(np.array(picture), np.rint(expected * 255))
    assert expected.max() > 0.9
    predict_files(parser, photo, None, out)
    assert "0_uncertainty.png" not in names(out)


def test_uncertainty_is_refused_where_one_parser_answers(photos):
    images, depths, out = photos / "images", photos / "depths", photos / "out"
    refused = "for which one parser of these networks answers, expected .* leave --uncertainty out"
    for networks, given, told in (
        (("rgb",), (images / "0.png", depths / "0.png"), "image and depth map"),
        (("rgb", "depth"), (images / "0.png", None), "image"),
        (("rgb", "depth", "translator"), (None, depths), "depth map"),
        (("rgb", "depth"), (images, depths), "image"),  # one of them has no depth
    ):
        parser = make_parser(*networks)
        with pytest.raises(
            InputError, match=rf"--uncertainty: found an input \({told}\) {refused}"
        ):
            predict_files(parser, *given, out, UNCERTAINTY)
        assert not out.exists()
        predict_files(parser, *given, out)
        shutil.rmtree(out)


def test_several_files_and_folders_are_parsed_and_paired(parser, photos):
    images, depths, out = photos / "images", photos / "depths", photos / "out"
    more = photos / "more"
    more.mkdir()
    (images / "2.png").rename(more / "2.png")
    given = [str(images / "0.png"), images / "1.png", more, more / "2.png"]
    assert sorted(predict_files(parser, given, None, out)["predictions"]) == ["0", "1", "2"]
    sources = [entry["source"] for entry in recorded(out).values()]
    assert sources == ["rgb+translated depth"] * 3
    predict_files(parser, given, depths, out)
    sources = {stem: entry["source"] for stem, entry in recorded(out).items()}
    assert sources == {"0": "rgb+depth", "1": "rgb+depth", "2": "rgb+translated depth"}
    shutil.copy(images / "0.png", more)
    for wrong, says in (
        ((given, None, out), r"images/0\.png and .*more/0\.png, expected one file for '0'"),
        ((given[:2], None, images / "0.png"), "a file"),
        ((given[1:3], None, more), "folder of the inputs"),
        (([images / "0.png", more / "2.png"], depths, out), r"1_depth\.png without an image"),
        (([images / "0.png", photos / "nowhere"], None, out), "nowhere: found nothing"),
        (([], None, out), "images, depth maps or both"),
    ):
        with pytest.raises(InputError, match=says):
            predict_files(parser, *wrong)


def test_folders_are_read_with_what_lies_below_them(parser, photos, capsys):
    images, out = photos / "images", photos / "images" / "parsed"
    holiday = images / "holiday" / "sea"
    holiday.mkdir(parents=True)
    for name in ("anna.png", "._anna.png", ".hidden.png"):
        shutil.copy(images / "0.png", holiday / name)
    for folder in (".thumbnails", "earlier"):
        (images / folder).mkdir()
        shutil.copy(images / "0.png", images / folder / "x.png")
    (images / "earlier" / "predictions.json").write_text(
        '{"written_by": "faceparse_jax", "predictions": {}}'
    )
    (images / "linked").symlink_to(photos / "depths")
    for _ in range(2):  # the second time, there are results within the inputs
        record = predict_files(parser, images, None, out)["predictions"]
        assert sorted(record) == ["0", "1", "2", "holiday/sea/anna"]
    written = record["holiday/sea/anna"]["written"]
    assert written["label"] == "holiday/sea/anna_label.png"
    alone = np.array(Image.open(out / "0_label.png"))
    np.testing.assert_array_equal(np.array(Image.open(out / written["label"])), alone)
    assert sorted(path.name for path in (out / "holiday" / "sea").iterdir()) == [
        "anna_colours.png", "anna_depth.png", "anna_label.png", "anna_overlay.png",
    ]  # fmt: skip
    told = capsys.readouterr().err
    assert f"what is no image is left out (1): {images / 'notes.txt'}" in told
    assert f"links to folders are not followed (1): {images / 'linked'}" in told
    assert f"results of a prediction are not read (2): {images / 'earlier'}, {out}" in told
    assert "hidden" not in told
    assert "4 of 4 inputs were parsed before" in told


def test_depth_is_paired_by_the_folders_within(parser, photos):
    for folder, name in (("images", "anna.png"), ("depths", "anna_depth.png")):
        (photos / folder / "sea").mkdir()
        shutil.copy(photos / folder / "0.png", photos / folder / "sea" / name)
    depths, out = photos / "depths", photos / "out"
    record = predict_files(parser, photos / "images", depths, out)["predictions"]
    assert {stem: one["source"] for stem, one in record.items()} == {
        "0": "rgb+depth", "1": "rgb+depth", "2": "rgb+translated depth", "sea/anna": "rgb+depth",
    }  # fmt: skip
    # Depth maps that lie within the folder of the images are no images.
    depths = depths.rename(photos / "images" / "depths")
    assert predict_files(parser, photos / "images", depths, out)["predictions"].keys() == {*record}
    (depths / "sea" / "anna_depth.png").rename(depths / "anna.png")
    with pytest.raises(InputError, match=r"anna\.png without an image"):
        predict_files(parser, photos / "images", depths, out)


def test_a_folder_of_results_in_which_inputs_lie_is_refused(parser, photos):
    images = photos / "images"
    (images / "sea").mkdir()
    shutil.copy(images / "0.png", images / "sea")
    with pytest.raises(InputError, match="folder of the inputs"):
        predict_files(parser, images, None, images / "sea")
    out = photos / "out"
    out.mkdir()
    (out / "sea").write_text("a file")
    with pytest.raises(InputError, match=r"out/sea, which is no folder"):
        predict_files(parser, images, None, out)
    assert names(out) == ["sea"]


def test_photographs_of_phones_that_cannot_be_read_are_named(parser, photos, monkeypatch):
    images, out = photos / "images", photos / "out"
    (images / "anna.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"1 of 4 inputs.*anna\.heic.*pillow-heif") as error:
        predict_files(parser, images, None, out, strict=True)
    assert error.value.exit_status == 2
    assert not out.exists()
    with pytest.raises(Unparsed, match=r"1 of 4 inputs.*anna\.heic.*pillow-heif"):
        predict_files(parser, images, None, out)
    assert sorted(recorded(out)) == ["0", "1", "2"]
    for photo in images.glob("*.png"):
        photo.unlink()
    for alone in (images / "anna.heic", images):
        with pytest.raises(InputError, match=r"anna\.heic: .*pillow-heif.*export"):
            predict_files(parser, alone, None, out)


def test_an_input_whose_results_no_file_system_can_name_is_refused(parser, photos):
    photo = photos / "images" / "0.png"
    for length, fits in ((229, True), (230, False)):
        shutil.copy(photo, photos / "images" / f"{'x' * length}.png")
        if fits:
            predict_files(parser, photos / "images", None, photos / "fits", PROBABILITIES)
            continue
        with pytest.raises(InputError, match=r"too long for those of the results.*at most 229"):
            predict_files(parser, photos / "images", None, photos / "out", PROBABILITIES)
        assert not (photos / "out").exists()


def test_own_results_are_replaced_and_other_files_never(parser, photos):
    photo, out = photos / "images" / "0.png", photos / "out"
    predict_files(parser, photo, None, out, PROBABILITIES)
    assert "0_depth.png" in names(out)
    predict_files(parser, photo, None, out, RGB)
    assert names(out) == ["0_colours.png", "0_label.png", "0_overlay.png", "predictions.json"]
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


def test_a_folder_name_that_cannot_be_is_refused(parser, photos):
    with pytest.raises(InputError, match="too long, expected a folder to write to"):
        predict_files(parser, photos / "images", None, photos / ("a" * 300))


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
    config = parse(c)
    system = build(config, 19)
    init = functools.partial(
        init_state,
        jax.random.key(0),
        system=system,
        optimizer=optim.build(config, system),
        size=32,
        ema=False,
    )

    folder = tmp_path_factory.mktemp("run")
    state = jax.tree.map(lambda x: jnp.full(x.shape, 0.01, x.dtype), jax.eval_shape(init))
    meta = {
        "config": config.to_dict(),
        "seed": 0,
        "code_version": "test",
        "dataset": {"scheme": "celebamask_hq", "merge_order": "official"},
    }
    with Checkpoints(folder, keep=1) as checkpoints:
        checkpoints.save_best(state, meta)
    return folder


def test_prediction_from_a_checkpoint_needs_no_tensorflow(workdir, photos):
    script = (
        "import sys, pathlib; from faceparse_jax import load;"
        "from faceparse_jax.prediction.files import predict_files;"
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


def photo_with_exif(path, label, orientation):
    """A photograph that is stored so that this orientation turns it onto its label."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = Image.fromarray(COLOURS[label])
    # 6 asks for a quarter to the right, 3 for a half.
    back = {6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180}[orientation]
    stored.transpose(back).save(path, exif=exif)


@pytest.mark.parametrize(
    ("shape", "orientation", "turns", "depth_turned", "warned"),
    [
        ((40, 30), 6, True, True, False),  # the map lies as the photograph is stored
        ((40, 30), 6, False, False, False),  # the map lies as the photograph is looked at
        ((32, 32), 6, False, False, True),
        ((40, 30), 3, False, False, True),
    ],
)
def test_depth_beside_a_photograph_that_exif_turns(
    photos, shape, orientation, turns, depth_turned, warned
):
    label, colours = bands(*shape)
    depth = depth_like(colours)
    photo_with_exif(photos / "turned.png", label, orientation)
    Image.fromarray(np.rot90(depth) if turns else depth).save(photos / "map.png")
    parser = make_parser("depth", "rgb")
    out = photos / "out"
    settings = Settings(output="depth")
    predict_files(parser, photos / "turned.png", photos / "map.png", out, settings)
    entry = recorded(out)["turned"]
    assert entry["image_turned"] == {6: "ROTATE_270", 3: "ROTATE_180"}[orientation]
    assert entry["depth_turned"] == depth_turned
    assert any("EXIF" in warning for warning in entry["warnings"]) == warned
    parsed = np.array(Image.open(out / "turned_label.png"))
    np.testing.assert_array_equal(parsed > 0, depth > 0)


def test_the_kind_of_depth_is_recorded_and_floats_name_the_option(photos, capsys):
    parser, out = make_parser("depth"), photos / "out"
    depth = depth_like(np.zeros((40, 30, 3)))
    np.save(photos / "map.npy", np.where(depth > 0, 0.6 + depth / 1000, 3).astype(np.float32))
    with pytest.raises(InputError, match=r"float32, expected.*--depth_kind=metric"):
        predict_files(parser, None, photos / "map.npy", out)
    predict_files(parser, None, photos / "map.npy", out, Settings(depth_kind="auto"))
    assert recorded(out)["map"]["depth_kind"] == "metric"
    Image.fromarray(np.where(depth > 0, 255 - depth, 0).astype(np.uint8)).save(photos / "map.png")
    predict_files(parser, None, photos / "map.png", out)
    assert "warning: map: the middle of the map lies farther" in capsys.readouterr().err
    assert "--depth_kind=inverse" in recorded(out)["map"]["warnings"][0]
