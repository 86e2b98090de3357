"""Runs and prepared data on a bucket: every command against a server of this machine.

TensorFlow, TensorStore and Google's client speak to it as they would to the real one.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image

from faceparse_jax.checkpoints import store
from faceparse_jax.checkpoints.state import TrainState
from faceparse_jax.data import reader
from faceparse_jax.data.splits import newest_version, prepared_configs
from faceparse_jax.errors import InputError, Stopped
from faceparse_jax.evaluation import evaluate
from faceparse_jax.runtime import lock, places
from faceparse_jax.runtime.lock import locked
from faceparse_jax.runtime.sharding import make_mesh
from faceparse_jax.training.logs import Logs
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


@pytest.fixture(scope="module")
def fake():
    with FakeBucket("faces") as server:
        yield server


def put(fake: FakeBucket, folder: pathlib.Path, place: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            fake.put("faces", f"{place}/{path.relative_to(folder)}", path.read_bytes())


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
    put(fake, data_dir, "prepared")
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


@pytest.mark.parametrize(("module", "extra"), [("tensorflow", "data"), ("google.cloud", "bucket")])
def test_a_missing_library_is_named(module, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"faceparse_jax\[{extra}\]"):
        places.place(f"gs://without_{module}/run", "--workdir")


def test_what_fails_later_is_one_sentence_too():
    from etils import epath
    from google.api_core.exceptions import Forbidden

    run = epath.Path("gs://faces/run")
    errors = (
        Forbidden("denied"),
        ValueError("PERMISSION_DENIED: denied"),
        ValueError("denied [gs://faces/run]"),
        OSError("denied"),
        ConnectionResetError(104, "denied"),
    )
    for error in errors:
        says = "gs://faces/run: found .*denied.*, expected a bucket that answers"
        with pytest.raises(InputError, match=says), store.told_full_disk(run):
            raise error
        assert places.failed(pathlib.Path("run"), error) is None
    others = (ValueError("denied"), PermissionError(13, "denied", "/denied"), KeyError("denied"))
    for error in others:
        with pytest.raises(Exception, match="denied") as raised, store.told_full_disk(run):
            raise error
        assert raised.value is error


def test_what_is_lost_is_not_what_a_bucket_denies():
    import tensorflow as tf
    from google.api_core.exceptions import NotFound, ServiceUnavailable

    lost = (
        FileNotFoundError("gone"),
        json.JSONDecodeError("cut", "{", 1),
        ValueError("NOT_FOUND: gone"),
        ValueError("DATA_LOSS: cut"),
        NotFound("gone"),
        tf.errors.NotFoundError(None, None, "gone"),
        tf.errors.DataLossError(None, None, "cut"),
    )
    denied = (
        OSError("no route"),
        ValueError("UNAVAILABLE: NOT_FOUND: of a host"),
        ServiceUnavailable("busy"),
        tf.errors.PermissionDeniedError(None, None, "denied"),
        TimeoutError("late"),
    )
    assert [places.lost(error) for error in (*lost, *denied)] == [True] * 7 + [False] * 5


@pytest.fixture
def folder(fake, monkeypatch, request):
    """A folder of the bucket, for this process."""
    for name, value in fake.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(places, "_bucket", places._bucket.__wrapped__)
    from etils import epath

    return epath.Path("gs://faces/locks") / re.sub(r"\W", "_", request.node.name)


def test_a_good_checkpoint_stays_where_a_bucket_denies_it(fake, folder, capsys):
    def state(step):
        whole = TrainState(np.int32(step), {"a": np.full(3, step, np.float32)}, {}, {"n": step}, {})
        return jax.tree.map(jax.numpy.asarray, whole)

    here, mesh = f"{folder}/checkpoints/".removeprefix("gs://"), make_mesh()
    with store.Checkpoints(folder, keep=2) as checkpoints:
        for step in (1, 2):
            checkpoints.save(state(step), {})
        checkpoints.wait()
        before = fake.files(here)
        fake.rights -= {"storage.objects.get"}
        says = rf"{folder}/checkpoints/last/2: found .*; next: run the same command when the bucket"
        try:
            with pytest.raises(InputError, match=says):
                checkpoints.restore(state(0), mesh)
        finally:
            fake.rights = set(RIGHTS)
        assert fake.files(here) == before
        whole, meta = checkpoints.restore(state(0), mesh)
        assert (int(whole.step), meta["step"]) == (2, 2)
    del fake.objects["faces"][f"{here}last/2/meta/metadata".removeprefix("faces/")]
    with store.Checkpoints(folder, keep=2) as checkpoints:
        assert int(checkpoints.restore(state(0), mesh)[0].step) == 1
    assert "last/2 is damaged" in capsys.readouterr().err
    assert any(name.startswith(f"{here}damaged/2/") for name in fake.files())


def test_one_process_at_a_time_writes_on_a_bucket(fake, folder):
    name = f"{folder}/{lock.LOCK}".removeprefix("gs://")
    with locked(folder):
        assert json.loads(fake.files()[name])["pid"] == os.getpid()
        with pytest.raises(InputError, match=f"process {os.getpid()} on"), locked(folder):
            pass
        assert name in fake.files()  # of the one who holds it
    assert name not in fake.files()
    with locked(folder):
        pass


@pytest.mark.parametrize(
    ("change", "age", "refused"),
    [
        ({"pid": 2**22 + 1}, 0, False),  # it has ended
        ({"boot": "another"}, 0, False),  # the host was restarted
        ({"host": "elsewhere"}, 0, True),
        ({"host": "elsewhere", "boot": "another"}, 200, True),
        ({"host": "elsewhere"}, 400, False),  # the host was taken away
    ],
)
def test_who_left_the_object_of_a_lock(fake, folder, change, age, refused):
    path = f"{folder}/{lock.LOCK}".removeprefix("gs://faces/")
    fake.put("faces", path, json.dumps(lock._this_process() | change).encode(), age)
    if refused:
        says = f"{folder}: found process {os.getpid()} on elsewhere.*wait 300 s"
        with pytest.raises(InputError, match=says), locked(folder):
            pass
        assert f"faces/{path}" in fake.files()
    else:
        with locked(folder):
            assert json.loads(fake.files()[f"faces/{path}"])["pid"] == os.getpid()


def test_a_lock_is_renewed(fake, folder, monkeypatch):
    monkeypatch.setattr(lock, "_RENEWED_EACH", 0.01)
    path = f"{folder}/{lock.LOCK}".removeprefix("gs://faces/")
    with locked(folder):
        while fake.writes.count(path) < 3:
            time.sleep(0.01)
    assert path not in fake.objects["faces"]


@pytest.mark.parametrize(
    ("successor", "says"), [("lives", "the lock of another process"), ("ended", "no lock")]
)
def test_who_lost_its_lock_ends(fake, folder, successor, says):
    program = (
        "import time; from etils import epath; from faceparse_jax.runtime import lock\n"
        "lock._RENEWED_EACH = 0.01\n"
        f"with lock.locked(epath.Path('{folder}')): print('in', flush=True); time.sleep(100)"
    )
    words = [sys.executable, "-c", program]
    environment = os.environ | fake.environment()
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe) as process:
        assert process.stdout.readline() == b"in\n"
        path = f"{folder}/{lock.LOCK}".removeprefix("gs://faces/")
        other = json.dumps(lock._this_process() | {"host": "elsewhere"}).encode()
        if successor == "lives":
            fake.put("faces", path, other)
        else:
            del fake.objects["faces"][path]
        told = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 2
    assert f"error: {folder}/{lock.LOCK}: found {says}, expected this one's" in told
    assert fake.files().get(f"faces/{path}") == (other if successor == "lives" else None)


def test_a_bucket_that_does_not_answer_costs_a_run_a_warning(folder, monkeypatch, capsys):
    from google.api_core.exceptions import ServiceUnavailable

    write, now, published = places.write, 0.0, []

    def denied(*_):
        raise ServiceUnavailable("busy")

    def written(path, data):
        published.append(path.name)
        write(path, data)

    with Logs(folder, 10, clock=lambda: now) as logs:
        scratch = logs._folder
        monkeypatch.setattr(places, "write", denied)
        for step in (1, 2):
            now += 31
            logs.scalars(step, {"loss": 0.5})
        assert capsys.readouterr().err.count("warning: the log is not published") == 1
        monkeypatch.setattr(places, "write", written)
        logs.scalars(3, {"loss": 0.5})
        assert not published  # until half a minute is over
        now += 31
        logs.scalars(4, {"loss": 0.5})
        assert "metrics.jsonl" in published
    assert (folder / "metrics.jsonl").read_text().count("loss") == 4
    assert not scratch.exists()
    monkeypatch.setattr(places, "write", denied)
    logs = Logs(folder, 10)
    with pytest.raises(Stopped), logs:
        raise Stopped(signal.SIGTERM)
    told = capsys.readouterr().err
    assert f"warning: the log is not published: {folder}: found 503 busy" in told
    assert not logs._folder.exists()
    with pytest.raises(ServiceUnavailable), Logs(folder, 10):
        pass


def test_data_that_a_bucket_denies_are_not_damaged(fake, config, folder):
    import tensorflow as tf

    from faceparse_jax.data import tfds_files

    of = ("synthetic_heads", "tiny", "test", f"{folder.parent.parent}/prepared")
    split = tfds_files.open_split(*of)
    tfds_files._builder.cache_clear()
    says = "found .*, expected a bucket that answers; next: run the same command when"
    fake.rights -= {"storage.objects.get"}
    try:
        with pytest.raises(InputError, match=says):
            tfds_files._builder(split.directory)
        fake.rights -= {"storage.objects.list"}
        with pytest.raises(InputError, match=says):
            newest_version(*of[:2], of[3])
        with pytest.raises(InputError, match=says):
            prepared_configs(of[0], of[3])
    finally:
        fake.rights = set(RIGHTS)
    with pytest.raises(InputError, match=says), tfds_files.reading(split):
        raise tf.errors.UnavailableError(None, None, "busy")
    for kind in (tf.errors.DataLossError, tf.errors.InvalidArgumentError):
        with pytest.raises(InputError, match="; next: remove"), tfds_files.reading(split):
            raise kind(None, None, "cut")


def test_evaluations_side_by_side_keep_the_lines_of_both(folder, monkeypatch):
    read, others = places.Note.read, ["second", "third"]

    def read_before_another_appends(note):
        found = read(note)
        if others:
            evaluate._keep(folder, {"of": others.pop(0)})
        return found

    monkeypatch.setattr(places.Note, "read", read_before_another_appends)
    evaluate._keep(folder, {"of": "first"})
    kept = (folder / "all.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["of"] for line in kept) == ["first", "second", "third"]
