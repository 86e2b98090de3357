"""Every key of the config is read by something, and every shipped config can run."""

import ast
import dataclasses
import pathlib
import re

import pytest

from configs import (
    base,
    celebamask_hq_d,
    celebamask_hq_d_128,
    helen_d,
    helen_d_128,
    lapa_d,
    lapa_d_128,
    synthetic_heads,
)
from faceparse_jax import from_config, labels
from faceparse_jax.checkpoints.state import Weights
from faceparse_jax.data.augment import Augment
from faceparse_jax.data.scarcity import Scarcity
from faceparse_jax.runtime import provenance
from tests.support.places import ROOT


class _CodeAlone(ast.NodeTransformer):
    """Drops strings, but for those by which these functions read a key."""

    def visit_Call(self, node):
        named = getattr(node.func, "id", "") in ("weight", "_choice", "getattr")
        return node if named else self.generic_visit(node)

    def visit_Constant(self, node):
        return ast.Constant("") if isinstance(node.value, str) else node


def code(path: pathlib.Path) -> str:
    return ast.unparse(_CodeAlone().visit(ast.parse(path.read_text())))


# The ranges of `config_check` name keys and read none.
FILES = [p for p in (ROOT / "faceparse_jax").rglob("*.py") if p.name != "config_check.py"]
SOURCE = "\n".join(map(code, FILES))
KEYS = sorted(provenance.flat(base.get_config().to_dict()))
# Keys of these sections become fields of one dataclass, under the name that reads them.
FIELDS = {"loss": (Weights, "weights"), "augment": (Augment, r"\w*(?:augment|config)")}


def is_read(key: str) -> bool:
    section, _, name = key.rpartition(".")
    if section in FIELDS:
        kind, variable = FIELDS[section]
        there = name in {field.name for field in dataclasses.fields(kind)}
        # A term's weight is read by its name.
        by_name = section == "loss" and f"weight('{name}')" in SOURCE
        return there and (by_name or bool(re.search(rf"\b{variable}\.{name}\b", SOURCE)))
    if section == "data" and name in {field.name for field in dataclasses.fields(Scarcity)}:
        return bool(re.search(rf"\b(?:scarcity|self)\.{name}\b|\{{what\}}_{name[6:]}\b", SOURCE))
    return bool(re.search(rf"\b{'' if section else 'config.'}{re.escape(key)}\b", SOURCE))


@pytest.mark.parametrize("key", KEYS)
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
        helen_d,
        helen_d_128,
        lapa_d,
        lapa_d_128,
        synthetic_heads,
    ],
)
def test_every_shipped_config_is_one_of_the_base_and_runs(module):
    config = module.get_config()
    assert provenance.flat(config.to_dict()).keys() == set(KEYS)
    assert from_config.weights(config).networks() == ("rgb", "depth", "translator")
    assert from_config.nets(config, 19).rgb is not None
    assert from_config.optimizers(config).keys() >= {"rgb", "depth", "translator"}
    assert from_config.augment(config, labels.CELEBAMASK_HQ).crop == config.augment.crop
    assert pathlib.Path(config.data.data_dir).name


def test_statistics_are_split_only_where_both_kinds_of_depth_teach():
    config = base.get_config()
    config.model.depth_statistics = "split"
    assert from_config.nets(config, 19).split_statistics
    for weights in ({"e2e": 0.0, "mutual": 0.0}, {"depth": 0.0, "mutual": 0.0}):
        with config.loss.unlocked():
            config.loss.update({"e2e": 1.0, "depth": 1.0, "mutual": 0.1} | weights)
        assert not from_config.nets(config, 19).split_statistics
