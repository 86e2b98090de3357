"""What evaluation counts: label grids, other schemes, mirror images, boundaries."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from faceparse_jax import labels
from faceparse_jax.data import batches, reader
from faceparse_jax.evaluation import boundaries, metrics, scoring
from faceparse_jax.evaluation.counting import scoring_for
from faceparse_jax.evaluation.scoring import Scoring, eval_step, resize_within
from faceparse_jax.images.resize import inside
from faceparse_jax.labels.conversion import class_matrix
from faceparse_jax.models.bisenet import BiSeNet
from faceparse_jax.models.inference import predict, predict_both_ways
from faceparse_jax.models.routes import ROUTES, preferred, routes
from faceparse_jax.models.system import System
from tests.support.dummy_archives import SHAPES, cropped, eleven, lapa
from tfds_builders import build

SYSTEM = System(rgb=BiSeNet(19, width=0.125))


@pytest.fixture(scope="module")
def variables():
    image = jnp.zeros((1, 32, 32, 3))
    init = jax.jit(functools.partial(SYSTEM.rgb.init, train=False))
    return {"rgb": init(jax.random.key(0), image)}


def inputs(rows=4, size=32, seed=0):
    image = np.random.default_rng(seed).integers(0, 256, (rows, size, size, 3)).astype(np.uint8)
    return {
        "image": image,
        "depth": np.zeros((rows, size, size, 1), np.uint8),
        "has_depth": np.zeros(rows, bool),
    }


@pytest.mark.parametrize("size", [(40, 23), (7, 64), (16, 16)])
def test_resize_within_is_the_resize_of_jax(size):
    values = np.random.default_rng(0).random((16, 20, 3)).astype(np.float32)
    window = (2, 3, 12, 15)
    part = values[2:14, 3:18]
    expected = jax.image.resize(part, (*size, 3), "linear", antialias=False)
    got = resize_within(jnp.asarray(values), jnp.array(window), jnp.array(size), (64, 64))
    np.testing.assert_allclose(got[: size[0], : size[1]], expected, atol=1e-6)


def test_labels_of_many_sizes_count_as_one_by_one(variables):
    """Sizes that divide neither by each other nor by the batch."""
    rng = np.random.default_rng(1)
    sizes = [(40, 61), (64, 64), (33, 20), (57, 64), (64, 30)]
    found = np.zeros((19, 19), np.int64)
    expected = np.zeros((19, 19), np.int64)
    step = jax.jit(functools.partial(eval_step, system=SYSTEM, scoring=Scoring(19)))
    examples = []
    for row, (h, w) in enumerate(sizes):
        one = {key: value[0] for key, value in inputs(1, seed=row).items()}
        label = rng.integers(0, 19, (h, w)).astype(np.uint8)
        examples.append((one | {"index": np.int32(row)}, label))
        arrays = {key: jnp.asarray(value[None]) for key, value in one.items()}
        probabilities = np.asarray(predict(variables, arrays, system=SYSTEM)["rgb"][0])
        part = probabilities[inside((h, w), 32)]
        planes = jax.image.resize(part, (h, w, 19), "linear", antialias=False)
        expected += np.asarray(
            metrics.confusion(jnp.asarray(label)[None], jnp.argmax(planes, -1)[None], 19)
        )
    canvases = batches.canvases(batches.ORIGINAL, lambda: np.array(sizes), len(sizes), 4)
    assert canvases == [(64, 64), (64, 64)]
    rows = (
        one | batches.on_canvas(label, canvases[row // 4], batches.ORIGINAL, 32)
        for row, (one, label) in enumerate(examples)
    )
    empties = (batches.empty(4, 32, 8, canvas) for canvas in canvases)
    seen = 0
    for batch in batches.padded(batches.grouped(rows, 4), empties):
        seen += int(batch["mask"].sum())
        arrays = {k: jnp.asarray(v) for k, v in batch.items() if k != "index"}
        found += np.asarray(step(variables, arrays)[0]["rgb"]["confusion"])
    assert seen == len(sizes)
    assert found.sum() == sum(h * w for h, w in sizes)
    # Ties of floating point may fall to another class.
    assert np.abs(found - expected).sum() <= 4


def test_labels_in_a_larger_square_lie_where_the_picture_lies(tmp_path, variables):
    """Pictures that are not square: the label's square and the networks' round differently."""
    lapa(tmp_path / "manual")
    build.build("lapa_d", tmp_path / "manual", data_dir=tmp_path)
    opened = reader.open("tfds", "lapa_d", "official", "train", tmp_path, 30)
    system = System(rgb=BiSeNet(11, width=0.125))
    network = {"rgb": jax.jit(functools.partial(system.rgb.init, train=False))(
        jax.random.key(0), jnp.zeros((1, 32, 32, 3))
    )}  # fmt: skip
    (batch,) = opened.evaluate(3, 128)
    arrays = {k: jnp.asarray(v) for k, v in batch.items() if k != "index"}
    step = functools.partial(eval_step, system=system, scoring=Scoring(11))
    found = np.asarray(step(network, arrays)[0]["rgb"]["confusion"])
    expected = np.zeros_like(found)
    inputs = {key: arrays[key] for key in ("image", "depth", "has_depth")}
    probabilities = np.asarray(predict(network, inputs, system=system)["rgb"])
    for row, name in enumerate(opened.ids):
        shape = SHAPES[int(name[-1])]
        picture = probabilities[row][inside(shape, 30)]
        there = inside(shape, 128)
        fitted = tuple(part.stop - part.start for part in there)
        assert tuple(batch["size"][row]) == fitted
        label = cropped(eleven(int(name[-1]), labels.LAPA), int(name[-1]))
        places = (
            ((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(fitted, shape, strict=True)
        )
        label = label[np.ix_(*places)]
        np.testing.assert_array_equal(batch["label"][row][: fitted[0], : fitted[1]], label)
        planes = jax.image.resize(picture, (*fitted, 11), "linear", antialias=False)
        prediction = jnp.argmax(planes, -1)[None]
        expected += np.asarray(metrics.confusion(jnp.asarray(label)[None], prediction, 11))
    assert np.abs(found - expected).sum() <= 4


def test_another_scheme_counts_what_merged_predictions_would(variables):
    label = np.random.default_rng(2).integers(0, 11, (4, 32, 32)).astype(np.uint8)
    batch = inputs() | {"label": label, "mask": np.ones(4, bool)}
    arrays = {key: jnp.asarray(value) for key, value in batch.items()}
    scheme, how = scoring_for(labels.CELEBAMASK_HQ, labels.LAPA)
    assert scheme == labels.LAPA
    counts = eval_step(variables, arrays, system=SYSTEM, scoring=how)[0]["rgb"]["confusion"]
    assert counts.shape == (11, 11)
    network = {key: arrays[key] for key in ("image", "depth", "has_depth")}
    probabilities = np.asarray(predict(variables, network, system=SYSTEM)["rgb"])
    merged = probabilities @ class_matrix(labels.CELEBAMASK_HQ, labels.LAPA)
    expected = metrics.confusion(arrays["label"], jnp.asarray(merged.argmax(-1)), 11)
    assert np.abs(np.asarray(counts) - np.asarray(expected)).sum() <= 4


def test_labels_of_a_finer_scheme_are_merged(variables):
    scheme, how = scoring_for(labels.LAPA, labels.CELEBAMASK_HQ)
    assert scheme == labels.LAPA
    assert how.class_table == ()
    assert how.label_table[8] == labels.LAPA.classes.index("skin")  # l_ear


def test_mirrored_input_swaps_what_it_predicts(variables):
    """The mean of both ways is the same for an image and, mirrored, for its mirror image."""
    mirror = labels.CELEBAMASK_HQ.mirror
    both_ways = functools.partial(predict_both_ways, variables, system=SYSTEM, mirror=mirror)
    image = jnp.asarray(inputs()["image"])
    one = both_ways({"image": image})["rgb"]
    other = both_ways({"image": image[:, :, ::-1]})["rgb"]
    np.testing.assert_allclose(one, other[:, :, ::-1][..., jnp.array(mirror)], atol=1e-5)
    plain = predict(variables, {"image": image}, system=SYSTEM)["rgb"]
    assert not np.allclose(one, plain, atol=1e-4)


def by_distance(label, prediction, num_classes, tolerance):
    """Boundary counts by SciPy's distance transform, one image."""

    def outline(values, c):
        inner = np.zeros(values.shape, bool)
        for axis in (0, 1):
            for shift in (1, -1):
                neighbour = np.roll(values, shift, axis)
                edge = (neighbour != values) & (neighbour != 255)
                border = [slice(None)] * 2
                border[axis] = 0 if shift == 1 else -1
                edge[tuple(border)] = False
                inner |= edge
        return inner & (values == c)

    rows = []
    for c in range(num_classes):
        true, predicted = outline(label, c), outline(prediction, c)

        def near(other):
            if not other.any():
                return np.zeros(label.shape, bool)
            return ndimage.distance_transform_edt(~other) <= tolerance

        rows.append(
            (
                predicted.sum(),
                (predicted & near(true)).sum(),
                true.sum(),
                (true & near(predicted)).sum(),
            )
        )
    return np.array(rows)


@pytest.mark.parametrize("tolerance", [0, 1, 2, 3])
def test_boundaries_against_a_distance_transform(tolerance):
    rng = np.random.default_rng(tolerance)
    blocks = rng.integers(0, 4, (2, 2, 5, 6))
    label, prediction = (np.kron(b, np.ones((5, 5), int)).astype(np.uint8) for b in blocks)
    label[0, :3] = 255
    expected = sum(
        by_distance(a, np.where(a == 255, 255, b), 4, tolerance)
        for a, b in zip(label, prediction, strict=True)
    )
    mask = np.ones(2, bool)
    got = boundaries.counts(
        jnp.asarray(label), jnp.asarray(prediction), 4, jnp.asarray(mask), tolerance
    )
    np.testing.assert_array_equal(got, expected)
    alone = boundaries.counts(
        jnp.asarray(label), jnp.asarray(prediction), 4, jnp.array([False, True]), tolerance
    )
    np.testing.assert_array_equal(alone, by_distance(label[1], prediction[1], 4, tolerance))


def test_boundary_f1_by_hand():
    scheme = labels.HELEN
    counts = np.zeros((11, 4), int)
    counts[1] = (10, 5, 20, 5)  # precision 1/2, recall 1/4
    counts[2] = (0, 0, 7, 0)
    scores = boundaries.scores(counts, scheme)
    assert scores["boundary_f1/skin"] == pytest.approx(1 / 3)
    assert scores["boundary_f1/left_eyebrow"] == 0
    assert scores["boundary_f1/hair"] is None
    assert scores["boundary_f1/mean"] == pytest.approx(1 / 6)


def test_helen_regions_by_hand():
    """A confusion inside a region counts as right; skin, hair, background stay out."""
    confusion = np.zeros((11, 11), int)
    confusion[2, 3] = 4  # a brow for the other one
    confusion[2, 2] = 6
    confusion[3, 1] = 5  # a brow lost to skin
    confusion[7, 8] = 3  # inside the mouth
    confusion[1, 6] = 2  # skin taken for the nose
    confusion[1, 1], confusion[0, 0] = 50, 90
    scores = metrics.scores(confusion, labels.HELEN)
    assert scores["f1/brows"] == pytest.approx(2 * 10 / (15 + 10))
    assert scores["f1/mouth"] == pytest.approx(1)
    assert scores["f1/eyes"] is None
    assert scores["f1/overall"] == pytest.approx(2 * 13 / (18 + 15))
    assert "f1/overall" not in metrics.scores(confusion, labels.LAPA)


def test_scoring_is_a_value():
    assert hash(scoring.Scoring(19)) == hash(Scoring(19))


def test_routes_follow_networks_and_inputs():
    assert routes(["depth"]) == ["depth"]
    assert routes(("rgb", "depth", "translator")) == list(ROUTES)
    assert routes(("rgb", "depth")) == ["rgb", "depth", "fusion"]
    assert routes(("rgb", "depth"), ["image"]) == ["rgb"]
    assert routes(("rgb", "depth"), ["image", "depth map"]) == ["rgb", "depth", "fusion"]
    assert routes(("rgb", "depth", "translator"), ["image"]) == [
        "rgb", "depth_translated", "fusion",
    ]  # fmt: skip
    assert routes(("rgb", "depth", "translator"), ["depth map"]) == ["depth"]
    assert preferred(ROUTES) == ["fusion", "rgb", "depth", "depth_translated"]
