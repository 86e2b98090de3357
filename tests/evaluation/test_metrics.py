"""Counts and scores against scikit-learn; absent classes never become NaN or 0."""

import json

import jax
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, jaccard_score

from faceparse_jax.data.batches import AHEAD
from faceparse_jax.evaluation import counting, metrics
from faceparse_jax.labels import CELEBAMASK_HQ, IGNORE, Scheme
from faceparse_jax.runtime import sharding

K = CELEBAMASK_HQ.num_classes


def random_maps(seed, classes, shape=(8, 12, 10), ignored=0.1):
    rng = np.random.default_rng(seed)
    label = rng.choice(classes, shape).astype(np.uint8)
    guess = rng.choice(classes, shape)
    prediction = np.where(rng.random(shape) < 0.6, label, guess).astype(np.int32)
    label[rng.random(shape) < ignored] = IGNORE
    return label, prediction


def counted(label, prediction, mask=None):
    counts = jax.jit(metrics.confusion, static_argnums=2)(label, prediction, K, mask)
    return np.asarray(counts, np.int64)


def flat(label, prediction, mask=None):
    valid = label != IGNORE
    if mask is not None:
        valid &= mask[:, None, None]
    return label[valid], prediction[valid]


@pytest.mark.parametrize("mask", [None, np.arange(8) % 3 == 0, np.zeros(8, bool)])
def test_confusion_equals_scikit_learn(mask):
    label, prediction = random_maps(0, K)
    truth, guess = flat(label, prediction, mask)
    expected = np.zeros((K, K), int)
    if truth.size:
        expected = confusion_matrix(truth, guess, labels=range(K))
    np.testing.assert_array_equal(counted(label, prediction, mask), expected)


def test_confusion_rows_are_truth():
    label = np.full((1, 1, 3), 2, np.uint8)
    prediction = np.full((1, 1, 3), 5, np.int32)
    assert counted(label, prediction)[2, 5] == 3


def test_confusion_of_a_sharded_batch_is_the_same():
    label, prediction = random_maps(1, K)
    mask = np.arange(8) < 5
    mesh = sharding.make_mesh(8)
    batch = {"label": label, "prediction": prediction, "mask": mask}
    batch = sharding.shard(batch, mesh)
    counts = jax.jit(
        lambda b: metrics.confusion(b["label"], b["prediction"], K, b["mask"]),
        out_shardings=sharding.replicated(mesh),
    )(batch)
    np.testing.assert_array_equal(counts, counted(label, prediction, mask))


def test_counts_are_fetched_when_later_batches_have_been_begun(monkeypatch):
    """Every batch counts, and the devices never wait for the numbers of the one before."""
    label, prediction = random_maps(3, K, (4 * 7, 6, 5))
    has_depth = np.arange(4 * 7) % 3 > 0
    rows = {"label": label, "image": prediction, "has_depth": has_depth, "index": np.arange(28)}
    rows["mask"] = np.arange(28) < 26
    mesh, waiting = sharding.make_mesh(2), []
    step = jax.jit(lambda _, b: metrics.confusion(b["label"], b["image"], K, b["mask"]))

    def eval_step(variables, batch):
        waiting.append(step(variables, batch))
        assert len(waiting) <= AHEAD + 1
        return {"rgb": {"confusion": waiting[-1]}}, {}

    def fetch(counts, get=jax.device_get):
        assert counts["rgb"]["confusion"] is waiting.pop(0)
        in_flight.append(len(waiting))
        return get(counts)

    in_flight = []
    monkeypatch.setattr(jax, "device_get", fetch)
    batches = ({k: v[i : i + 4].copy() for k, v in rows.items()} for i in range(0, 28, 4))
    found, examples = counting.count(eval_step, {}, batches, mesh)
    monkeypatch.undo()
    assert in_flight == [AHEAD] * (7 - AHEAD) + list(range(AHEAD))[::-1]
    np.testing.assert_array_equal(
        found["rgb"]["confusion"], counted(label, prediction, rows["mask"])
    )
    assert examples == {"all": 26, "with_depth": int(has_depth[:26].sum())}


def test_scores_equal_scikit_learn():
    there = [0, 1, 2, 5, 10, 13, 17]
    label, prediction = random_maps(2, there)
    truth, guess = flat(label, prediction)
    scores = metrics.scores(counted(label, prediction), CELEBAMASK_HQ)
    settings = {"average": None, "labels": there}
    f1 = f1_score(truth, guess, **settings)
    iou = jaccard_score(truth, guess, **settings)
    for i, part in enumerate(there):
        name = CELEBAMASK_HQ.classes[part]
        assert scores[f"f1/{name}"] == pytest.approx(f1[i], abs=1e-12)
        assert scores[f"iou/{name}"] == pytest.approx(iou[i], abs=1e-12)
    assert scores["f1/mean"] == pytest.approx(f1[1:].mean())
    with_depth = [part in CELEBAMASK_HQ.depth_classes for part in there]
    assert 0 < sum(with_depth) < len(there) - 1
    assert scores["f1/mean_depth_classes"] == pytest.approx(f1[with_depth].mean())
    assert scores["iou/mean"] == pytest.approx(iou.mean())
    assert scores["accuracy"] == pytest.approx(accuracy_score(truth, guess))
    absent = [name for i, name in enumerate(CELEBAMASK_HQ.classes) if i not in there]
    assert scores["absent"] == absent
    assert all(scores[f"f1/{name}"] is None and scores[f"iou/{name}"] is None for name in absent)


def test_class_missed_or_invented_scores_zero_and_counts():
    confusion = np.zeros((K, K), np.int64)
    confusion[1, 1], confusion[2, 1], confusion[1, 3] = 6, 2, 1
    scores = metrics.scores(confusion, CELEBAMASK_HQ)
    skin = 2 * 6 / (7 + 8)
    assert scores["f1/nose"] == scores["f1/eye_g"] == 0.0
    assert scores["f1/mean"] == pytest.approx(skin / 3)
    assert "nose" not in scores["absent"]


def test_background_counts_in_iou_and_accuracy_only():
    confusion = np.zeros((K, K), np.int64)
    confusion[0, 0], confusion[0, 1], confusion[1, 1] = 2, 1, 1
    scores = metrics.scores(confusion, CELEBAMASK_HQ)
    assert scores["f1/mean"] == scores["f1/skin"] == pytest.approx(2 / 3)
    assert scores["iou/mean"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert scores["accuracy"] == pytest.approx(3 / 4)


def test_nothing_counted_is_none_never_nan():
    scores = metrics.scores(np.zeros((K, K), np.int64), CELEBAMASK_HQ)
    assert scores.pop("absent") == list(CELEBAMASK_HQ.classes)
    assert set(scores.values()) == {None}


def test_large_counts_keep_their_precision():
    confusion = np.zeros((K, K), np.int64)
    confusion[1, 1], confusion[1, 0] = 2**40, 2**40
    assert metrics.scores(confusion, CELEBAMASK_HQ)["f1/skin"] == 2 / 3


def test_scores_are_json():
    scores = metrics.scores(counted(*random_maps(3, K)), CELEBAMASK_HQ)
    assert json.loads(json.dumps(scores)) == scores


def test_wrong_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="19 classes"):
        metrics.scores(np.zeros((11, 11), np.int64), CELEBAMASK_HQ)


def test_table_aligns_classes_and_evaluations():
    scheme = Scheme("toy", ("background", "skin", "hat"), ((0, 0, 0),) * 3, (), "subject", (1,))
    half = metrics.scores(np.array([[2, 1, 0], [1, 2, 0], [0, 0, 0]]), scheme)
    whole = metrics.scores(np.diag([5, 5, 5]), scheme)
    assert metrics.table({"rgb": half, "depth, translated": whole}, scheme) == "\n".join(
        [
            "%                         rgb  depth, translated",
            "------------------------------------------------",
            "F1 background           66.67             100.00",
            "F1 skin                 66.67             100.00",
            "F1 hat                      -             100.00",
            "------------------------------------------------",
            "mean F1                 66.67             100.00",
            "mean F1, depth classes  66.67             100.00",
            "mean IoU                50.00             100.00",
            "accuracy                66.67             100.00",
        ]
    )
