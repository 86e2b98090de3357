"""One process at a time works in a folder; what dead ones left is in nobody's way."""

import errno
import fcntl
import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

from faceparse_jax.errors import InputError
from faceparse_jax.runtime import lock
from faceparse_jax.runtime.lock import LOCK, locked
from tests.support.locks import process_that_locks


def holder(**values):
    """What this process would write, with other values."""
    return lock._this_process() | values


def left(folder: pathlib.Path, **values) -> pathlib.Path:
    """A file that a process left."""
    path = folder / LOCK
    path.write_text(json.dumps(holder(**values)))
    return path


@pytest.fixture
def no_locks(monkeypatch):
    """A file system without locks between processes."""

    def refuse(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.fixture
def ended():
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_file_names_the_process_and_goes_with_the_lock(tmp_path):
    folder = tmp_path / "new" / "run"
    with locked(folder):
        found = json.loads((folder / LOCK).read_text())
        assert found["pid"] == os.getpid()
        assert found["host"] == socket.gethostname()
    assert not list(folder.iterdir())
    with locked(folder):
        pass


def test_a_failure_within_gives_the_lock_up(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        _ = 1 / 0
    with locked(tmp_path):
        pass


def test_a_second_process_is_refused_and_told_who_works_there(tmp_path):
    with process_that_locks(tmp_path) as other:
        before = (tmp_path / LOCK).read_text()
        since = json.loads(before)["since"]
        with pytest.raises(InputError) as told, locked(tmp_path):
            pass
        assert f"process {other.pid} on {socket.gethostname()}, which works in it since" in str(
            told.value
        )
        assert since in told.value.found
        assert "wait until it ends, or choose another --workdir" in told.value.next_step
        assert (tmp_path / LOCK).read_text() == before


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path):
    with process_that_locks(tmp_path) as other:
        other.kill()
        other.wait()
        assert (tmp_path / LOCK).exists()
        with locked(tmp_path):
            assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "one"}', "null", "[" * 4096])
def test_a_file_torn_by_a_kill_is_in_nobodys_way(tmp_path, text):
    (tmp_path / LOCK).write_text(text)
    with locked(tmp_path):
        pass


def test_another_host_may_still_work(tmp_path):
    path = left(tmp_path, host="elsewhere", boot="another")
    before = path.read_text()
    says = f"on elsewhere.*remove {path} where that process has ended"
    with pytest.raises(InputError, match=says), locked(tmp_path):
        pass
    assert path.read_text() == before
    path.unlink()
    with locked(tmp_path):
        pass


@pytest.mark.parametrize(
    "values",
    [
        {"boot": "another"},  # this host, before it was restarted
        {"host": "elsewhere"},  # a container on this kernel
    ],
)
def test_who_has_ended_for_sure_is_in_nobodys_way(tmp_path, values):
    left(tmp_path, **values)
    with locked(tmp_path):
        pass


def test_without_locks_a_living_process_counts(tmp_path, no_locks):
    left(tmp_path)
    with pytest.raises(InputError, match=f"process {os.getpid()} on"), locked(tmp_path):
        pass


def test_without_locks_a_dead_process_does_not_count(tmp_path, no_locks, ended):
    left(tmp_path, pid=ended)
    with locked(tmp_path):
        pass


def test_without_locks_another_process_with_the_same_id_does_not_count(tmp_path, no_locks):
    left(tmp_path, started=1)
    with locked(tmp_path):
        pass


def test_without_locks_nobody_knows_of_other_containers(tmp_path, no_locks):
    left(tmp_path, host="elsewhere")
    with pytest.raises(InputError, match="on elsewhere"), locked(tmp_path):
        pass


def test_a_lock_that_its_holder_removes_just_then_is_not_taken_for_the_new_one(
    tmp_path, monkeypatch
):
    """Between the open and the lock the holder ends: the file is no longer that of the path."""
    flock, calls = fcntl.flock, []

    def late(file, how):
        if not calls:
            (tmp_path / LOCK).unlink()
        calls.append(file)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(tmp_path):
        assert (tmp_path / LOCK).exists()
    assert len(calls) == 2


def test_a_file_system_that_cannot_tell_files_apart_has_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "samestat", lambda *_: False)
    with locked(tmp_path):
        assert (tmp_path / LOCK).exists()
    assert not (tmp_path / LOCK).exists()


def test_a_lock_that_somebody_took_over_is_not_removed(tmp_path):
    with locked(tmp_path):
        (tmp_path / LOCK).unlink()
        (tmp_path / LOCK).write_text("another")
    assert (tmp_path / LOCK).read_text() == "another"


def test_a_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    says = "Permission denied, expected a folder to write to"
    with pytest.raises(InputError, match=says), locked(tmp_path):
        pass
