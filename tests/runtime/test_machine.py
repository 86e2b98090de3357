"""Cores within a quota, a home folder or none, and where compiled programs are kept."""

import os
import pathlib
import pwd
import subprocess
import sys

import pytest

from faceparse_jax.errors import InputError
from faceparse_jax.runtime import machine, places


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch):
    monkeypatch.setattr(machine, "_schedulable", lambda: 8)


@pytest.fixture
def cgroups(tmp_path):
    """Writes what Linux shows of control groups, and counts the cores."""

    def count(own: str, **files: str) -> int:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "groups" / name.replace("__", "/").replace("cpu_", "cpu.")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return machine.cores(tmp_path / "groups", tmp_path / "own")

    return count


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu_max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu_max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu_max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu_max": "5000 100000\n"}, 1),
        ("0::/\n", {"cpu_max": "1600000 100000\n"}, 8),
        ("0::/a/b\n", {"a__b__cpu_max": "max 1000\n", "a__cpu_max": "3000 1000\n"}, 3),
        ("0::/docker/1\n", {"cpu_max": "300000 100000\n"}, 3),
        ("0::/\n", {"cpu_max": "words\n"}, 8),
        ("0::/\n", {}, 8),
        ("4:memory:/\n2:cpu,cpuacct:/docker/1\n0::/\n",
         {"cpu__cpu_cfs_quota_us": "400000\n", "cpu__cpu_cfs_period_us": "100000\n"}, 4),
        ("2:cpu:/\n", {"cpu__cpu_cfs_quota_us": "-1\n", "cpu__cpu_cfs_period_us": "100000\n"}, 8),
        ("2:cpuset:/\n", {"cpu__cpu_cfs_quota_us": "1\n", "cpu__cpu_cfs_period_us": "1\n"}, 8),
    ],
)  # fmt: skip
def test_a_quota_of_any_group_above_counts(own, files, cores, cgroups):
    assert cgroups(own, **files) == cores


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert machine.cores(tmp_path, tmp_path / "absent") == 8


@pytest.fixture
def homeless(monkeypatch):
    """A user id without an entry and without HOME."""

    def absent(_):
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", absent)


def test_a_path_below_home_needs_a_home(homeless, tmp_path):
    with pytest.raises(InputError, match="next: set HOME, or name a whole path"):
        machine.expanded("~/data")
    assert machine.expanded(tmp_path) == tmp_path


def test_home_stands_for_its_sign(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert machine.expanded("~/data") == tmp_path / "data"


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """What `set_environment` sets, in a user's empty environment."""
    kept = dict(os.environ)
    for name in ("JAX_COMPILATION_CACHE_DIR", "PJRT_NPROC", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(machine, "cores", lambda: 8)
    yield os.environ
    os.environ.clear()
    os.environ.update(kept)


def test_compiled_programs_lie_where_the_users_caches_do(environment, tmp_path):
    machine.set_environment()
    folder = tmp_path / ".cache" / "faceparse_jax" / "compiled"
    assert environment["JAX_COMPILATION_CACHE_DIR"] == str(folder)
    assert list(folder.iterdir()) == []


def test_the_users_own_places_go_before(environment, tmp_path):
    environment["XDG_CACHE_HOME"] = str(tmp_path / "caches")
    machine.set_environment()
    folder = tmp_path / "caches" / "faceparse_jax" / "compiled"
    assert environment["JAX_COMPILATION_CACHE_DIR"] == str(folder)
    environment["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path / "own")
    machine.set_environment()
    assert environment["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "own")
    assert not (tmp_path / "own").exists()  # JAX makes it


def test_where_the_cache_cannot_be_written_there_is_none(environment, tmp_path, capfd):
    (tmp_path / ".cache").write_text("a file in the way")
    machine.set_environment()
    assert "JAX_COMPILATION_CACHE_DIR" not in environment
    assert capfd.readouterr() == ("", "")


def test_without_a_home_there_is_no_cache_and_no_folder_of_its_sign(environment, homeless):
    environment.pop("KERAS_HOME", None)
    machine.set_environment()
    assert os.path.isabs(environment["KERAS_HOME"])
    assert "JAX_COMPILATION_CACHE_DIR" not in environment


def test_tensorflow_comes_without_keras(environment):
    machine.set_environment()
    look = "import sys, tensorflow; print('keras' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout == "False True\n"


def test_the_oldest_of_too_many_programs_go(environment, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CACHE_LIMIT", 250)
    folder = tmp_path / ".cache" / "faceparse_jax" / "compiled"
    folder.mkdir(parents=True)
    for age, name in enumerate(("new-cache", "older-cache", "oldest-cache")):
        (folder / name).write_bytes(bytes(100))
        os.utime(folder / name, (1e9 - age, 1e9 - age))
    machine.set_environment()
    assert sorted(path.name for path in folder.iterdir()) == ["new-cache", "older-cache"]


def test_xla_is_told_of_a_quota_alone(environment, monkeypatch):
    machine.set_environment()
    assert "PJRT_NPROC" not in environment
    monkeypatch.setattr(machine, "cores", lambda: 3)
    machine.set_environment()
    assert environment["PJRT_NPROC"] == "3"
    environment["PJRT_NPROC"] = "5"
    machine.set_environment()
    assert environment["PJRT_NPROC"] == "5"


@pytest.mark.parametrize("name", ["./gs:/faces/run", "./gs://faces/run", "gs:"])
def test_a_local_folder_may_be_called_like_a_bucket(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = places.place(name, "--workdir")
    assert run == tmp_path / pathlib.Path(name)
    assert not places.on_bucket(run / "checkpoints")
    assert machine.expanded(run) == run
