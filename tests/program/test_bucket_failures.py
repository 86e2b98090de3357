"""What a bucket denies, loses or answers late, met within one process."""

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

from faceparse_jax.checkpoints import store
from faceparse_jax.checkpoints.state import TrainState
from faceparse_jax.data.splits import newest_version, prepared_configs
from faceparse_jax.errors import InputError, Stopped
from faceparse_jax.evaluation import evaluate
from faceparse_jax.runtime import lock, places
from faceparse_jax.runtime.lock import locked
from faceparse_jax.runtime.sharding import make_mesh
from faceparse_jax.training.logs import Logs
from tests.support.fake_bucket import RIGHTS
from tests.support.places import ROOT

pytest.importorskip("google.cloud.storage", reason="the extra bucket is not installed")


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


def test_data_that_a_bucket_denies_are_not_damaged(fake, data_dir, folder):
    import tensorflow as tf

    from faceparse_jax.data import tfds_files

    fake.put_folder(data_dir, "faces", "prepared")
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
