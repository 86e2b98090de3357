"""What a result file says of where it comes from."""

import functools
import importlib.metadata
import pathlib
import subprocess

import jax

from faceparse_jax import __version__


@functools.cache
def code_version() -> str:
    """Package version plus the commit of its checkout, ``-dirty`` where it has changes."""
    here = pathlib.Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        return f"{__version__}+{commit.stdout.strip()}"
    except (OSError, subprocess.SubprocessError):
        return __version__


def libraries() -> dict[str, str]:
    """Versions of the libraries that decide the numbers, and the device."""
    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    versions = {name: importlib.metadata.version(name) for name in names}
    device = jax.devices()[0]
    return versions | {"device": f"{len(jax.devices())} x {device.device_kind}"}
