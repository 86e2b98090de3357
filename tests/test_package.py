"""What a user imports, and what an installation of the package brings."""

import subprocess
import sys

import pytest

import faceparse_jax
from faceparse_jax.prediction import parser
from tests.support.places import ROOT


def test_the_public_names():
    assert faceparse_jax.load is parser.load
    assert faceparse_jax.Parser is parser.Parser
    assert faceparse_jax.Result is parser.Result
    assert {"load", "Parser", "Result", "__version__"} <= set(dir(faceparse_jax))
    with pytest.raises(AttributeError, match="'faceparse_jax' has no attribute 'lod'"):
        faceparse_jax.lod  # noqa: B018


def test_the_package_alone_brings_no_jax():
    code = (
        "import sys, faceparse_jax\n"
        "dir(faceparse_jax)\n"
        "assert 'jax' not in sys.modules and 'numpy' not in sys.modules\n"
        "from faceparse_jax import load\n"
        "assert 'jax' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
