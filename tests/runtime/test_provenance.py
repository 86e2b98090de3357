"""What a record says of the values and of the machine that it rests on."""

import os
import shutil
import subprocess

import jax
import numpy as np
import pytest

from faceparse_jax import __version__
from faceparse_jax.runtime import provenance


def test_a_checksum_follows_names_shapes_and_bits():
    tree = {"b": np.arange(4.0), "a": np.ones(2)}
    assert provenance.checksum(tree) == provenance.checksum(jax.tree.map(np.copy, tree))
    for other in (
        {"b": np.arange(4.0), "c": np.ones(2)},
        {"b": np.arange(4.0).reshape(2, 2), "a": np.ones(2)},
        {"b": np.nextafter(np.arange(4.0), 9), "a": np.ones(2)},
    ):
        assert provenance.checksum(other) != provenance.checksum(tree)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux pins processes")
def test_a_record_names_the_cores_a_process_may_use():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert provenance.device().endswith(" x cpu, cores: 1")
    finally:
        os.sched_setaffinity(0, allowed)
    assert provenance.device().endswith(f" x cpu, cores: {len(allowed)}")


def test_a_commit_is_named_only_where_it_is_the_packages_own(tmp_path, monkeypatch):
    """An environment within a user's repository holds no checkout of this package."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@localhost"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message=a"], check=True)
    describe = provenance.code_version.__wrapped__
    for package, own in (("faceparse_jax", True), (".venv/site-packages/faceparse_jax", False)):
        file = tmp_path / package / "runtime" / "provenance.py"
        monkeypatch.setattr(provenance, "__file__", str(file))
        assert (describe() != __version__) == own
        assert describe().startswith(__version__)
    shutil.rmtree(tmp_path / ".git")
    assert describe() == __version__
