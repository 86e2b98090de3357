"""Every key of the config is read by something, and every shipped config can run."""

import ast
import dataclasses
import inspect
import json
import pathlib
import re

import pytest
from pydantic import ValidationError

from faceparse_jax import labels
from faceparse_jax.checkpoints.run_config import differing, stored
from faceparse_jax.config import FIELDS, TERMS, Config, documentation, expected, parse, sentence
from faceparse_jax.configs import (
    base,
    celebamask_hq_d,
    celebamask_hq_d_128,
    folder,
    heads,
    heads_system,
    helen_d,
    helen_d_128,
    lapa_d,
    lapa_d_128,
    synthetic_heads,
)
from faceparse_jax.data import augment
from faceparse_jax.data.augment import Augment
from faceparse_jax.data.order import Scarcity
from faceparse_jax.errors import InputError
from faceparse_jax.models.system import build
from faceparse_jax.training import optim
from faceparse_jax.training.objective import objective
from tests.support.places import ROOT


class _CodeAlone(ast.NodeTransformer):
    """Drops strings, which may name a key without reading it."""

    def visit_Constant(self, node):
        return ast.Constant("") if isinstance(node.value, str) else node


def code(path: pathlib.Path) -> str:
    return ast.unparse(_CodeAlone().visit(ast.parse(path.read_text())))


# config.py declares the keys and reads few of them.
FILES = [p for p in (ROOT / "faceparse_jax").rglob("*.py") if p.name != "config.py"]
SOURCE = "\n".join(map(code, FILES))
TERMS_READ = inspect.getsource(objective).replace('"', "'")
# Keys that become fields of a dataclass, which is read under another name.
MOVED = {"augment": (Augment, "augment"), "data": (Scarcity, r"(?:scarcity|self)")}


def is_read(key: str) -> bool:
    section, _, name = key.rpartition(".")
    if section == "loss" and name in TERMS:
        # The objective has a function for each term.
        return repr(name) in TERMS_READ
    if section in MOVED and name in {f.name for f in dataclasses.fields(MOVED[section][0])}:
        found = rf"\b{MOVED[section][1]}\.{name}\b|\{{what\}}_{name[6:]}\b"
        return bool(re.search(found, SOURCE))
    return bool(re.search(rf"\b{'' if section else 'config.'}{re.escape(key)}\b", SOURCE))


@pytest.mark.parametrize("key", sorted(FIELDS))
def test_every_key_is_read(key):
    assert is_read(key)


@pytest.mark.parametrize("key", ["optim.rates", "loss.extra", "augment.shear", "data.shard", "x"])
def test_a_key_that_nothing_reads_is_noticed(key):
    assert not is_read(key)


@pytest.mark.parametrize(
    "module",
    [
        base,
        celebamask_hq_d,
        celebamask_hq_d_128,
        folder,
        heads,
        heads_system,
        helen_d,
        helen_d_128,
        lapa_d,
        lapa_d_128,
        synthetic_heads,
    ],
)
def test_every_shipped_config_runs(module):
    config = parse(module.get_config())
    system = build(config, 19)
    networks = ("rgb",) if module is heads else ("rgb", "depth", "translator")
    assert system.networks() == networks
    assert optim.build(config, system).rates.keys() == set(networks)
    assert augment.build(config, labels.CELEBAMASK_HQ).crop == config.augment.crop
    assert pathlib.Path(config.data.data_dir).name


def test_statistics_are_split_only_where_both_kinds_of_depth_teach():
    config = base.get_config()
    config.model.depth_statistics = "split"
    assert build(parse(config), 19).split_statistics
    for weights in ({"e2e": 0.0, "mutual": 0.0}, {"depth": 0.0, "mutual": 0.0}):
        config.loss.update({"e2e": 1.0, "depth": 1.0, "mutual": 0.1} | weights)
        assert not build(parse(config), 19).split_statistics


def test_the_documentation_of_the_keys_is_that_of_the_code():
    """`python -m faceparse_jax.config > docs/configuration.md` writes it anew."""
    assert (ROOT / "docs" / "configuration.md").read_text() == documentation()


def test_the_documentation_names_every_key_with_its_default_and_values():
    lines = documentation().splitlines()
    for key in FIELDS:
        (line,) = (line for line in lines if line.startswith(f"| `{key}` |"))
        assert line.endswith(f"| {expected(key)} | {sentence(key)} |")
        assert sentence(key).endswith(".")


def test_a_config_becomes_typed_values_and_json_and_comes_back():
    config = base.get_config()
    config.loss.e2e = ((0, 1.0), (10, 0.0))
    config.loss.mutual = 1  # as the command line may give it
    parsed = parse(config)
    assert parsed.loss.e2e == ((0, 1.0), (10, 0.0))
    assert parsed.loss.weights().keys() == {"rgb", "depth", "e2e", "mutual", "translation"}
    assert stored(json.loads(json.dumps(parsed.to_dict())), "x", "y") == parsed
    assert parse(parsed) is parsed
    with pytest.raises(ValidationError, match="frozen"):
        parsed.train.steps = 3


def test_a_relative_folder_of_data_is_kept_whole(tmp_path, monkeypatch):
    config = base.get_config()
    config.data.data_dir = "data"
    monkeypatch.chdir(tmp_path)
    parsed = parse(config)
    assert parsed.data.data_dir == str(tmp_path / "data")
    # That of a run of an earlier version is looked for where the command is given.
    old = json.loads(json.dumps(Config().to_dict()))
    old["data"]["data_dir"] = "data"
    assert stored(old, "x", "y").data.data_dir == parsed.data.data_dir
    config.data.data_dir = "~/data"  # another home has it, too
    assert parse(config).data.data_dir == "~/data"


def test_all_faulty_keys_are_named_at_once_each_with_its_range_and_a_value_to_set():
    config = base.get_config()
    config.train.ema, config.loss.mutual_mean = 1.0, "faces"
    with pytest.raises(InputError) as caught:
        parse(config)
    assert str(caught.value) == (
        "config.loss.mutual_mean, config.train.ema: found 'faces', 1.0, expected "
        "'classes' or 'pixels'; a number in [0, 1); next: set "
        "--config.loss.mutual_mean=classes --config.train.ema=0.0"
    )


def test_a_run_of_an_earlier_version_opens_without_the_keys_that_are_gone():
    values = Config().to_dict()
    values["loss"] |= {"mutual_kind": "l2", "drawn_rows": "depth"}
    del values["loss"]["mutual_mean"], values["data"]["paired_rows"]
    config = stored(values, "runs/old", "next")
    assert config.loss.mutual_mean == "pixels"  # what runs did before there was the key
    assert config.data.paired_rows == 0
    with pytest.raises(InputError, match=r"loss\.drawn_rows, loss\.mutual_kind"):
        stored(values, "runs/old", "next", trains=True)
    values["loss"]["sharpness"] = 1.0
    with pytest.raises(InputError, match=r"runs/old: found a config with loss\.sharpness"):
        stored(values, "runs/old", "next")
    differing_keys = differing(Config().to_dict(), config.to_dict())
    assert differing_keys == ["loss.mutual_mean='classes' (now 'pixels')"]
