"""Networks in one file: what is kept of them, what the card says, and what is refused."""

import functools
import json
import shutil

import jax
import numpy as np
import pytest

from faceparse_jax.checkpoints import pack, packed
from faceparse_jax.checkpoints.store import Checkpoints
from faceparse_jax.checkpoints.trained import load_trained
from faceparse_jax.data.synthetic import heads
from faceparse_jax.errors import InputError
from faceparse_jax.models.inference import predict
from faceparse_jax.prediction.parser import load
from faceparse_jax.training.setup import accept
from tests.support.runs import tiny_config

MOST = 16e6  # bytes of a file that ships


@pytest.fixture(scope="module")
def workdir(data_dir, tmp_path_factory):
    """A run that has not learned, of all networks and both kinds of statistics."""
    config = tiny_config(data_dir)
    config.loss.adversarial, config.model.depth_statistics = 0.1, "split"
    job = accept(config)
    state, meta = job.fresh()
    ema = jax.tree.map(lambda x: 1.01 * x, state.ema)  # apart from the parameters
    folder = tmp_path_factory.mktemp("runs") / "run"
    with Checkpoints(folder, 1) as checkpoints:
        checkpoints.save_best(state.replace(ema=ema), meta | {"seen": {"pixels": [1, 2]}})
    return folder


@pytest.fixture(scope="module")
def file(workdir, tmp_path_factory):
    path = tmp_path_factory.mktemp("networks") / "mine.safetensors"
    pack.pack(workdir, "best", (), path)
    return path


@pytest.fixture(scope="module")
def own(file):
    return load_trained(file)


def scores(run, **changed):
    """What `evaluate` writes of networks, in short."""
    data = run.meta["dataset"]
    provenance = {
        "seed": 0, "step": 0, "checkpoint": "best", "trained_with": run.meta["code_version"],
        "trained_on": data, "sha256": run.meta["sha256"], "scored_in_scheme": "celebamask_hq",
        "scoring_resolution": 64, "flip": False,
        "scored_on": data | {"split": "test", "examples": {"all": 13, "with_depth": 13}},
    }  # fmt: skip
    rgb = {"f1/mean": 0.12345678, "f1/skin": 0.5, "f1/nose": None, "confusion": [[1]]}
    return {"provenance": provenance | changed, "classes": ["skin", "nose"], "routes": {"rgb": rgb}}


def test_a_packed_file_is_as_good_as_the_workdir(workdir, own):
    run = load_trained(workdir)
    assert run.system.discriminator is not None
    assert own.system.networks() == ("rgb", "depth", "translator")
    assert own.variables.keys() == {"rgb", "depth", "depth_translated", "translator"}
    assert own.config == run.config.replaced(data={"data_dir": own.config.data.data_dir})
    assert own.meta["best"] == run.meta["best"]
    assert "seen" in run.meta
    assert "seen" not in own.meta
    for name, tree in own.variables.items():
        for a, b in zip(*map(jax.tree.leaves, (tree, run.variables[name])), strict=True):
            assert a.dtype == np.float32
            np.testing.assert_allclose(a, b, rtol=2**-11 if a.ndim > 1 else 0, atol=2**-25)
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (2, 64, 64, 3), np.uint8),
        "depth": rng.integers(0, 256, (2, 64, 64, 1), np.uint8),
        "has_depth": np.ones(2, bool),
    }
    a, b = (
        jax.jit(functools.partial(predict, system=of.system))(of.variables, batch)
        for of in (run, own)
    )
    assert a.keys() == {"rgb", "depth", "depth_translated", "fusion", "translated"}
    for name in a:
        np.testing.assert_allclose(
            np.float32(a[name]), np.float32(b[name]), atol=1 if name == "translated" else 2e-3
        )


def test_the_record_of_a_parser_names_the_file(file, monkeypatch):
    """Here of the networks that are loaded where none are named."""
    monkeypatch.setattr(packed, "HEADS", file)
    record = load().record
    label = packed.read_label(file)
    assert record["network"] == "mine"
    assert record["sha256"] == label["sha256"]
    assert record["trained_with"] == label["meta"]["code_version"]


def test_the_same_run_gives_the_same_bytes(workdir, file, tmp_path):
    again = tmp_path / "mine.safetensors"
    card = pack.pack(workdir, "best", (), again)
    assert again.read_bytes() == file.read_bytes()
    assert card.read_text() == file.with_suffix(".md").read_text()
    assert pack.pack(again, "best", (), again) == card  # of itself, in its own place
    assert again.read_bytes() == file.read_bytes()


def test_nothing_tells_of_the_machine_that_trained(data_dir, file):
    assert str(data_dir).encode() not in file.read_bytes()
    assert str(data_dir) not in file.with_suffix(".md").read_text()


def test_the_card_says_what_the_file_holds(own, file, tmp_path):
    found = tmp_path / "test_best.json"
    found.write_text(json.dumps(scores(own)))
    path = tmp_path / "mine.safetensors"
    shutil.copy(file, path)
    card = pack.pack(path, "best", [found], path).read_text()
    assert card == pack.card_of(path)
    assert packed.read_label(path)["scores"][0]["routes"] == {
        "rgb": {"f1/mean": 0.1235, "f1/skin": 0.5}
    }
    for line in (
        "| mean F1 | 12.3 |",
        "| F1 skin | 50.0 |",
        "| parameters | their running average |",
        f"| version of the renderer | {heads.VERSION} |",
        "| `model.width` | `0.125` |",
        f"| SHA-256 in results | `{packed.read_label(path)['sha256']}` |",
    ):
        assert line in card.splitlines()
    assert "MIT, as the code" in card
    assert "F1 nose" not in card
    assert "None were measured here" in file.with_suffix(".md").read_text()


@pytest.mark.parametrize(
    "changed",
    [{"step": 7}, {"checkpoint": "last"}, {"sha256": {"inference": "0"}}, {"trained_on": {}}],
)
def test_scores_of_other_networks_are_refused(own, tmp_path, changed):
    found = tmp_path / "scores.json"
    found.write_text(json.dumps(scores(own, **changed)))
    with pytest.raises(InputError, match=f"scores of other networks .{next(iter(changed))}"):
        pack.score(found, own)


def test_networks_that_learned_from_photographs_are_not_under_the_codes_licence(file, tmp_path):
    label, tensors = packed.read(file)
    label["meta"]["dataset"] |= {"name": "lapa_d", "config": "official"}
    tree = {}
    for name, value in tensors.items():
        *folders, leaf = name.split("/")
        within = functools.reduce(lambda node, key: node.setdefault(key, {}), folders, tree)
        within[leaf] = value
    path = tmp_path / "lapa.safetensors"
    path.write_bytes(packed.contents(label, tree))
    card = " ".join(pack.card_of(path).split())
    assert "MIT licence of the code does not cover" in card
    assert "learned from lapa_d/official, whose terms" in card
    assert "Rendered heads alone" not in card


def test_numbers_beyond_half_precision_are_refused():
    with pytest.raises(InputError, match="the array params/rgb/kernel: found values up to 1e"):
        packed.contents({}, {"params": {"rgb": {"kernel": np.full((1, 1), 1e6)}}})
    with pytest.raises(InputError, match="values up to nan"):
        packed.contents({}, {"params": {"rgb": {"bias": np.full(3, np.nan)}}})
    vectors = {"batch_stats": {"var": np.full(3, 1e6)}}
    assert b"F32" in packed.contents({}, vectors)


def test_another_version_of_the_format_is_refused(file, tmp_path, monkeypatch):
    path = tmp_path / "later.safetensors"
    label, _ = packed.read(file)
    monkeypatch.setattr(packed, "FORMAT", 2)
    path.write_bytes(packed.contents(label, {"params": {"kernel": np.ones((1, 1))}}))
    monkeypatch.undo()
    version = label["meta"]["code_version"].replace("+", r"\+")
    with pytest.raises(InputError, match=rf"version 2 of the format, not 1.*{version}"):
        load(path)


def test_arrays_of_other_networks_are_refused(file, tmp_path):
    path = tmp_path / "part.safetensors"
    label, _ = packed.read(file)
    path.write_bytes(packed.contents(label, {"params": {"rgb": np.ones(1)}}))
    with pytest.raises(InputError, match="of shape None, not"):
        load(path)


def test_a_copy_without_the_shipped_networks_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "HEADS", tmp_path / "heads.safetensors")
    with pytest.raises(InputError, match="ship with faceparse_jax: found none in this copy"):
        load()


def test_networks_ship_with_the_package():
    assert packed.shipped().is_file()
    assert load().scheme.name == "celebamask_hq"


@pytest.mark.parametrize("path", sorted(packed.HEADS.parent.glob("*")), ids=lambda path: path.name)
def test_what_ships_is_whole_and_has_its_card(path):
    """Nothing else lies there, since all of it is installed."""
    file = path.with_suffix(".safetensors")
    assert path.suffix in (".safetensors", ".md")
    assert file.stat().st_size <= MOST
    assert file.with_suffix(".md").read_text() == pack.card_of(file)
    assert "rgb" in load_trained(file).params
