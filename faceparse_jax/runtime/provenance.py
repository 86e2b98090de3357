"""What a result file says of where it comes from."""

import functools
import hashlib
import importlib.metadata
import pathlib
import subprocess

import jax
import numpy as np
from jaxtyping import PyTree

from faceparse_jax import __version__
from faceparse_jax.runtime import machine


@functools.cache
def code_version() -> str:
    """Package version plus the commit of its checkout, ``-dirty`` where it has changes."""
    checkout = pathlib.Path(__file__).parents[2]
    # An installed package may lie within somebody's repository, whose commits are not its own.
    if not (checkout / ".git").exists():
        return __version__
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        return f"{__version__}+{commit.stdout.strip()}"
    except (OSError, subprocess.SubprocessError):
        return __version__


def device() -> str:
    """Number and kind of the devices; of a CPU also the cores, which decide the order of sums."""
    devices = jax.devices()
    name = f"{len(devices)} x {devices[0].device_kind}"
    if devices[0].platform != "cpu":
        return name
    return f"{name}, cores: {machine.cores()}"


def libraries() -> dict[str, str]:
    """Versions of the libraries that decide the numbers, and the device."""
    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    versions = {name: importlib.metadata.version(name) for name in names}
    return versions | {"device": device()}


def checksum(tree: PyTree) -> str:
    """SHA-256 of the names, types, shapes and bytes of all arrays, in the order of the names."""
    digest = hashlib.sha256()
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(tree))
    for path, leaf in sorted((jax.tree_util.keystr(path), leaf) for path, leaf in leaves):
        values = np.ascontiguousarray(leaf)
        digest.update(f"{path} {values.dtype} {values.shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
