"""`run.sh predict`: the words that it gives to the command, and the folder in which that runs."""

import hashlib
import os
import subprocess

import pytest

from faceparse_jax import main
from faceparse_jax.runtime import command_line
from tests.support.places import ROOT


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("my photo.jpg", "b.jpg"), {"image": ["my photo.jpg", "b.jpg"], "out": "parsed"}),
        (("a.jpg", "--out", "o", "--uncertainty"), {"image": ["a.jpg"], "out": "o"}),
        (("--depth=d.png", "--out=o"), {"image": None, "depth": "d.png", "out": "o"}),
    ],
)
def test_predict_takes_photographs_of_the_callers_folder(words, expected, tmp_path):
    # An environment whose requirements are installed, and whose Python tells what it is given.
    venv = tmp_path / "venv"
    python = venv / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$PWD" "$PYTHONPATH" "$@"\n')
    python.chmod(0o755)
    names = ("requirements.txt", "constraints.txt", "pyproject.toml")
    digest = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in names)).hexdigest()
    (venv / "requirements.sha256").write_text(f"{digest}  -\n")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [ROOT / "run.sh", "predict", *words],
        cwd=tmp_path,
        env=environment | {"VENV": str(venv)},
        capture_output=True,
        text=True,
    )
    folder, path, m, module, *given = done.stdout.splitlines()
    assert (folder, path, m, module) == (str(tmp_path), str(ROOT), "-m", "faceparse_jax.main")
    mode, values = command_line.parse(given, main.MODES)
    assert mode.name == "predict"
    assert values | expected == values
    assert values["uncertainty"] == ("--uncertainty" in words)
