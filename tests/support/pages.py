"""The commands and the Python of a Markdown page: found, and checked without running what is long.

A command is given to the parser that it would meet, so that a flag, a key of the config, a module
or a file that is not there is an error. What answers at once, such as --help, runs for real.
"""

import argparse
import ast
import contextlib
import functools
import importlib.util
import io
import os
import pathlib
import re
import runpy
import shlex
import sys
import tomllib
import warnings
from collections.abc import Sequence
from unittest import mock

import numpy as np
from PIL import Image

from faceparse_jax import config, main
from faceparse_jax.errors import InputError
from faceparse_jax.prediction import parser
from faceparse_jax.runtime import command_line
from tests.support import known_parser
from tests.support.places import ROOT

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PYTHON = ("python", ".venv/bin/python")
_PIP = ("pip", ".venv/bin/pip")
# Of the user's own shell, or of the user's own cluster.
_OTHERS = ("source", "cd", "git", "srun", "gcloud", "export", "sudo", "tmux", "tensorboard")
_CONFIG, _STUDY = "configs/celebamask_hq_d.py", "configs/studies/synthetic.py"


class Wrong(Exception):
    """A page names something that is not there."""


def blocks(page: str, language: str) -> list[str]:
    """The code of a page in that language."""
    return [code for name, code in _FENCE.findall(page) if name == language]


def commands(page: str) -> list[str]:
    """The commands of a page's ``bash`` blocks; a line with ``...`` is none."""
    code = "".join(blocks(page, "bash")).replace("\\\n", " ")
    lines = [(line, shlex.split(line, comments=True)) for line in code.splitlines()]
    return [line for line, words in lines if words and "..." not in words]


def mentions(page: str) -> list[str]:
    """The commands within a page's sentences and tables, and overrides of the config alone.

    What stands in brackets may be left out. A module without words is named, not called.
    """
    names = "|".join(map(re.escape, (*_PYTHON, *_PIP, "faceparse")))
    command = re.compile(rf"(?:{names}) |\./run\.sh|--config\.[a-z]")
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", _FENCE.sub("", page))]
    found = [re.sub(r" \[(.*?)\]", r" \1", span) for span in spans if command.match(span)]
    return [re.sub(r"^python -m (\S+)$", r"python -c 'import \1'", span) for span in found]


def check_command(line: str) -> None:
    """Raises Wrong where a command could not run for a flag, a key, a module or a file."""
    words = shlex.split(line, comments=True)
    while re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    for word in words:
        path = re.match(r"(?:--\w+=)?((?:configs|docs|benchmarks|tests|tfds_builders)/.*)", word)
        if path and not (ROOT / path[1]).exists():
            raise Wrong(f"{line}: no file {path[1]}")
    first, *rest = words
    # A benchmark that runs as a program prepares its environment.
    with contextlib.chdir(ROOT), mock.patch.dict(os.environ):
        if first.startswith("--config."):
            _check_overrides(line, words)
        elif first == "./run.sh":
            _check_script(line, rest)
        elif first in _PIP:
            _check_pip(line, rest)
        elif first == "faceparse":
            _check_main(line, rest)
        elif first in _PYTHON and rest[0] == "-m":
            _check_module(line, rest[1], rest[2:])
        elif first in _PYTHON and rest[0] == "-c":
            _need_module(line, rest[1].removeprefix("import "))
        elif first in _PYTHON:
            _check_arguments(line, lambda: runpy.run_path(rest[0], run_name="__main__"), rest)
        elif first not in _OTHERS:
            raise Wrong(f"{line}: no command of this project")


def _check_main(line: str, words: Sequence[str]) -> None:
    try:
        _, values = command_line.parse(words, main.MODES)
        if values.get("config") and "arms" not in values["config"]:
            config.parse(values["config"])
    except InputError as error:
        raise Wrong(f"{line}: {error}") from error
    except SystemExit:  # --help
        return


def _check_overrides(line: str, words: Sequence[str]) -> None:
    for word in words:
        mode, file = ("study", _STUDY) if word.startswith("--config.base.") else ("train", _CONFIG)
        given = word if "=" in word else f"{word}={_value_of(file, word)}"
        _check_main(line, [f"--mode={mode}", "--workdir=w", f"--config={file}", given])


def _value_of(file: str, word: str) -> object:
    """The value that a key has, for an override that is named without one."""
    value = runpy.run_path(file)["get_config"]()
    for key in word.removeprefix("--config.").split("."):
        value = value.get(key, "") if hasattr(value, "get") else ""
    return value


def _check_script(line: str, words: Sequence[str]) -> None:
    known = re.findall(r"^  ([a-z_]+)\) ", (ROOT / "run.sh").read_text(), re.MULTILINE)
    if words and words[0] not in known:
        raise Wrong(f"{line}: run.sh knows {', '.join(known)}")
    if words[:1] == ["predict"] and words[1:]:
        _check_main(line, ["--mode=predict", "--out=parsed", "--image", *words[1:]])
    if words[:1] == ["make_depth"] and words[1:]:
        _check_module(line, "faceparse_jax.data.make_depth", words[1:])


def _check_pip(line: str, words: Sequence[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for word in words:
        for asked in re.findall(r"^(?:\.|faceparse_jax)\[(.*)\]", word):
            if not set(asked.split(",")) <= extras["optional-dependencies"].keys():
                raise Wrong(f"{line}: no extra {asked}")
        if word.endswith(".txt") and not (ROOT / word).exists():
            raise Wrong(f"{line}: no file {word}")


def _check_module(line: str, module: str, words: Sequence[str]) -> None:
    _need_module(line, module)
    if module == "faceparse_jax.main":
        return _check_main(line, words)
    run = functools.partial(runpy.run_module, module, run_name="__main__", alter_sys=True)
    return _check_arguments(line, run, [module, *words])


def _need_module(line: str, module: str) -> None:
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if not found:
        raise Wrong(f"{line}: no module {module}")


class _Parsed(Exception):
    """A command has read its words."""


def _check_arguments(line: str, run, words: Sequence[str]) -> None:
    """Runs a command up to the end of its argument parser, or to its end where it has none."""
    parse = argparse.ArgumentParser.parse_args

    def stop(self, args=None, namespace=None):
        raise _Parsed(parse(self, args, namespace))

    told = io.StringIO()
    try:
        with (
            mock.patch.object(argparse.ArgumentParser, "parse_args", stop),
            mock.patch.object(sys, "argv", list(words)),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(told),
            warnings.catch_warnings(action="ignore"),  # a module that was imported runs again
        ):
            run()
    except _Parsed as parsed:
        (options,) = parsed.args
        _check_dataset(line, getattr(options, "name", None), getattr(options, "config", None))
    except SystemExit as end:
        if end.code:
            raise Wrong(f"{line}: {told.getvalue().splitlines()[-1]}") from end


def _check_dataset(line: str, name: str | None, order: str | None) -> None:
    from tfds_builders import build

    if name is None:
        return
    if name not in build.names():
        raise Wrong(f"{line}: no dataset {name}")
    orders = [known.name for known in build.builder_class(name).BUILDER_CONFIGS] if order else []
    if order and order not in orders and name != build.OWN:
        raise Wrong(f"{line}: {name} has {', '.join(orders)}, not {order}")


def check_python(code: str, folder: pathlib.Path) -> None:
    """Runs Python in a folder, where every picture that it names is made; `load` loads nothing.

    Raises:
        Wrong: whatever the code raises.
    """
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and str(node.value).endswith((".png", ".jpg")):
            path = folder / node.value
            path.parent.mkdir(parents=True, exist_ok=True)
            shape = (40, 30) if "depth" in node.value else (40, 30, 3)
            Image.fromarray(np.full(shape, 90, np.uint8)).save(path)
    made = known_parser.make_parser("rgb", "depth", "translator")
    with (
        mock.patch.object(parser, "load", return_value=made),
        contextlib.chdir(folder),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        try:
            exec(compile(tree, "<page>", "exec"), {"__name__": "page"})
        except Exception as error:
            raise Wrong(f"{type(error).__name__}: {error}, in\n{code}") from error
