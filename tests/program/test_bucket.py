"""Runs and prepared data on a bucket: every command against a server on the loopback.

TensorFlow, TensorStore and Google's client speak to it as they would to the real one.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from faceparse_jax.data import reader
from faceparse_jax.runtime import lock
from tests.support.fake_bucket import RIGHTS, FakeBucket
from tests.support.places import ROOT
from tests.support.runs import numbers

pytest.importorskip("google.cloud.storage", reason="the extra bucket is not installed")

_STEPS = 6
_CONFIG = """
from tests.support.runs import small_config

def get_config():
    c = small_config("gs://faces/prepared", {steps})
    c.train.ema = 0.9
    return c
"""
_STUDY = """
from tests.support.studies import tiny_study

def get_config():
    c = tiny_study("gs://faces/prepared")
    c.arms, c.conditions, c.seeds = c.arms[:1], c.conditions[:1], (0,)
    c.scores, c.baselines = (("rgb", "f1/mean"),), ()
    return c
"""


def fetch(fake: FakeBucket, place: str, folder: pathlib.Path) -> pathlib.Path:
    """A copy of a folder of the bucket, as gcloud storage cp makes it."""
    for name, data in fake.files(f"faces/{place}/").items():
        path = folder / name.removeprefix(f"faces/{place}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def start(fake: FakeBucket, module: str, *words) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, words)],
        cwd=ROOT,
        env=os.environ | fake.environment() | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def command(fake: FakeBucket, module: str, *words, status: int = 0) -> str:
    """What a command prints, whose status is as expected."""
    with start(fake, module, *words) as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    return out + err


def main(fake: FakeBucket, *words, status: int = 0) -> str:
    return command(fake, "faceparse_jax.main", *words, status=status)


@pytest.fixture(scope="module")
def config(fake, data_dir, tmp_path_factory):
    fake.put_folder(data_dir, "faces", "prepared")
    path = tmp_path_factory.mktemp("config") / "mine.py"
    path.write_text(_CONFIG.format(steps=_STEPS))
    return path


@pytest.fixture(scope="module")
def local(fake, config, data_dir, tmp_path_factory):
    """The same run in a folder that nothing stops, and its scores."""
    folder = tmp_path_factory.mktemp("runs") / "local"
    main(fake, "--config", config, f"--config.data.data_dir={data_dir}", "--workdir", folder)
    main(fake, "--mode=evaluate", "--workdir", folder)
    return folder


def stopped_at(fake: FakeBucket, step: int, number: int, *words) -> tuple[int, str]:
    """Sends a signal to a training that has come to a step; its status and last words."""
    with start(fake, "faceparse_jax.main", *words) as process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith(f"step {step}/"):
                process.send_signal(number)
                break
        lines += process.communicate(timeout=120)[1]
    return process.returncode, "".join(lines)


@pytest.fixture(scope="module")
def run(fake, config):
    """A run on the bucket that was preempted, then killed, and resumed each time."""
    words = ("--config", config, "--workdir", "gs://faces/runs/one")
    status, told = stopped_at(fake, 2, signal.SIGTERM, *words)
    assert status == 128 + signal.SIGTERM, told
    assert "gs://faces/runs/one is saved at step" in told
    assert "faces/runs/one/faceparse_jax.lock" not in fake.files()
    status, told = stopped_at(fake, 4, signal.SIGKILL, *words)
    assert status == -signal.SIGKILL, told
    assert "faces/runs/one/faceparse_jax.lock" in fake.files()
    main(fake, *words)
    return "gs://faces/runs/one"


def test_a_run_on_a_bucket_is_that_of_a_folder(fake, run, local, tmp_path):
    there = fetch(fake, "runs/one", tmp_path / "there")
    assert numbers(there) == numbers(local)
    names = {path.name for path in there.iterdir()}
    assert {"checkpoints", "config.json", "metrics.jsonl", "tensorboard"} <= names
    assert lock.LOCK not in names
    best, last = (there / "checkpoints" / which for which in ("best", "last"))
    assert [path.name for path in best.iterdir()] == [
        path.name for path in (local / "checkpoints" / "best").iterdir()
    ]
    for folder in (best, last):
        for path in folder.iterdir():
            own = json.loads((path / "meta" / "metadata").read_text())
            other = local / "checkpoints" / folder.name / path.name / "meta" / "metadata"
            assert own["sha256"] == json.loads(other.read_text())["sha256"]


def test_a_finished_run_is_left_as_it_is(fake, run, config):
    before = fake.files("faces/runs/one/")
    told = main(fake, "--config", config, "--workdir", run)
    assert "finished at step" in told
    after = fake.files("faces/runs/one/")
    assert after == before


def test_evaluation(fake, run, local, tmp_path):
    told = main(fake, "--mode=evaluate", "--workdir", run)
    assert f"written: {run}/evaluation/test_best.json" in told
    there = fetch(fake, "runs/one", tmp_path / "there") / "evaluation"
    for path in (local / "evaluation").iterdir():
        copy = there / path.name
        if path.suffix == ".csv":
            assert copy.read_bytes() == path.read_bytes()
        elif path.suffix == ".json":
            scores = (json.loads(each.read_text())["routes"] for each in (copy, path))
            assert next(scores) == next(scores)
        else:
            assert copy.exists()
    main(fake, "--mode=evaluate", "--workdir", run)  # the second line of a file
    kept = fake.files("faces/runs/one/evaluation/all.jsonl").popitem()[1].splitlines()
    assert len(kept) == 2
    assert json.loads(kept[0]) == json.loads(kept[1])


def test_prediction(fake, run, local, tmp_path):
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (70, 60, 3), np.uint8)).save(photo)
    words = ("--mode=predict", "--image", photo, "--out")
    main(fake, *words, tmp_path / "here", "--workdir", local)
    # Whoever only predicts needs no right to write.
    fake.rights = {"storage.objects.get", "storage.objects.list"}
    try:
        main(fake, *words, tmp_path / "there", "--workdir", run)
    finally:
        fake.rights = set(RIGHTS)
    labels = [tmp_path / each / "photo_label.png" for each in ("here", "there")]
    assert labels[0].read_bytes() == labels[1].read_bytes()


def test_load_opens_a_run_on_a_bucket(fake, run):
    program = (
        "import numpy as np; from faceparse_jax import load; "
        f"print(load('{run}')(image=np.zeros((40, 50, 3), np.uint8)).label.shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | fake.environment(),
        capture_output=True,
        text=True,
    )
    assert done.stdout == "(40, 50)\n", done.stderr


def test_replay_writes_to_the_bucket(fake, run):
    record = {"step": _STEPS, "terms": {}, "examples": []}
    fake.put("faces", "runs/one/non_finite.json", json.dumps(record).encode())
    told = main(fake, "--mode=replay", "--workdir", run)
    del fake.objects["faces"]["runs/one/non_finite.json"]
    assert f"written: {run}/replay/step_{_STEPS}.npz and .png" in told
    names = {name.rpartition("/")[2] for name in fake.files("faces/runs/one/replay/")}
    assert names == {f"step_{_STEPS}.npz", f"step_{_STEPS}.png"}


def test_a_study_on_a_bucket(fake, config, tmp_path):
    study = tmp_path / "study.py"
    study.write_text(_STUDY)
    words = ("--mode=study", "--config", study, "--workdir", "gs://faces/study")
    main(fake, *words)
    files = fake.files("faces/study/")
    assert b"## f1/mean" in files["faces/study/tables.md"]
    assert {"results.csv", "record.json", "plot.png"} <= {n.split("/")[2] for n in files}
    assert "1 runs, 0 to do" in main(fake, *words)


def test_a_build_onto_a_bucket_is_that_onto_a_disk(fake, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    words = ("--name=synthetic_heads", "--config=tiny", "--data_dir=gs://faces/built")
    command(fake, "tfds_builders.build", *words)
    command(fake, "tfds_builders.build", *words[:2], f"--data_dir={here}")
    fetch(fake, "built", there)
    opened = [reader.open("tfds", "synthetic_heads", "tiny", "test", d, 64) for d in (here, there)]
    assert opened[0].split.fingerprint == opened[1].split.fingerprint
    for one, other in zip(*(of.evaluate(4) for of in opened), strict=True):
        for key, values in one.items():
            np.testing.assert_array_equal(values, other[key])
    assert "already prepared" in command(fake, "tfds_builders.build", *words)


@pytest.mark.parametrize(
    ("address", "missing", "says"),
    [
        ("gs://nobody/run", (), "The specified bucket does not exist."),
        ("gs://faces/new", RIGHTS[:1], "no right to storage.buckets.get"),
        ("gs://faces/new", RIGHTS[1:3], "no right to storage.objects.create, storage.objects.dele"),
        ("gs://faces/new", RIGHTS, "no right to storage.objects.get"),
    ],
)
def test_what_a_bucket_denies_is_one_sentence(fake, config, address, missing, says):
    before = fake.files()
    fake.rights -= set(missing)
    try:
        told = main(fake, "--config", config, "--workdir", address, status=2)
    finally:
        fake.rights = set(RIGHTS)
    (line,) = (line for line in told.splitlines() if "error: " in line)
    assert says in line
    assert re.search(r"; next: (check its name|give it roles/storage\.objectUser)", line)
    assert "Traceback" not in told
    assert fake.files() == before
