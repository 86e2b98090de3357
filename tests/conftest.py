"""Shape checks, eight CPU devices and a compilation cache for every test."""

import fcntl
import importlib.metadata
import os
import pathlib
import shutil

from tests.support.places import ROOT, SHARED

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
_CACHE = ROOT / ".pytest_cache" / "compiled"
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_CACHE)  # for the commands that tests start as well
# Tests compile far more than they compute. XLA's older emitters take a third of the time; from
# jaxlib 0.11 on there are none, and a flag that XLA does not know ends the process.
_QUICK = "--xla_backend_optimization_level=0"
if importlib.metadata.version("jaxlib").startswith("0.10."):
    _QUICK += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_QUICK}"

from jaxtyping import install_import_hook

install_import_hook("faceparse_jax", "beartype.beartype")

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


# Files that take minutes come first, so that no process is left with one at the end.
_LONGEST = (
    "bucket",
    "hosts",
    "study",
    "run",
    "interruptions",
    "bad_runs",
    "bad_state",
    "bad_files",
)
_LONGEST += ("step", "step_terms", "readers", "synthetic", "networks")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {f"test_{name}": number for number, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """A folder with the official archives of a few photographs: celebamask_hq_mini and others."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"no real photographs at {folder}; FACEPARSE_SHARED names the folder above")
    return folder


@pytest.fixture(scope="module")
def fake():
    """A server on the loopback that answers as Google Cloud Storage, with the bucket ``faces``."""
    from tests.support.fake_bucket import FakeBucket

    with FakeBucket("faces") as server:
        yield server


@pytest.fixture(scope="session")
def _prepared_heads(tmp_path_factory) -> pathlib.Path:
    from tfds_builders import build

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # the processes that share the tests: the first prepares for all
    folder = folder / "heads"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "synthetic_heads").is_dir():
            build.build("synthetic_heads", config="tiny", data_dir=folder)
    return folder


@pytest.fixture(scope="module")
def data_dir(_prepared_heads, tmp_path_factory) -> pathlib.Path:
    """The tiny synthetic set, prepared once and copied for each file of tests."""
    return shutil.copytree(_prepared_heads, tmp_path_factory.mktemp("data") / "prepared")
