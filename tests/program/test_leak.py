"""A run on LaPa that is scored on Helen, and the other way round: the leak is told."""

import json

import pytest

from faceparse_jax.evaluation import evaluate
from faceparse_jax.training.loop import train
from tests.support.dummy_archives import helen_smith, with_helen
from tests.support.runs import small_config
from tfds_builders import build


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("both")
    with_helen(folder)
    helen_smith(folder)
    # One photograph of the test split is not Helen's, so that `without_helen` has a test split.
    for kind, end in (("images", "jpg"), ("labels", "png"), ("landmarks", "txt")):
        path = folder / "LaPa/test" / kind / f"HELEN_104_1_3.{end}"
        path.with_name(f"5.{end}").write_bytes(path.read_bytes())
    for name, config in (("lapa_d", "official"), ("lapa_d", "without_helen"), ("helen_d", "smith")):
        build.build(name, folder, config, folder / "data")
    return folder / "data"


@pytest.mark.parametrize(
    ("name", "config", "leaks"),
    [
        ("lapa_d", "official", {"helen_d/smith": "5,473 warped photographs of Helen"}),
        ("lapa_d", "without_helen", {}),
        ("helen_d", "smith", {"lapa_d/official": "1 of 2 photographs of lapa_d/official test"}),
    ],
)
def test_a_score_on_shared_photographs_is_told(data_dir, tmp_path, capsys, name, config, leaks):
    c = small_config(data_dir, steps=1)
    c.data.name, c.data.config, c.data.depth_fraction = name, config, 1.0
    train(c, tmp_path)
    c.eval.dataset = "lapa_d/*,helen_d/smith"
    capsys.readouterr()
    scores = evaluate.evaluate_run(tmp_path, "last", c)
    assert capsys.readouterr().out.count("warning: the networks were trained on") == len(leaks)
    assert len(scores) == 3
    written = [json.loads(p.read_text()) for p in (tmp_path / "evaluation").glob("*.json")]
    assert len(written) == 3
    for record in (found["provenance"] for found in written):
        dataset = f"{record['scored_on']['name']}/{record['scored_on']['config']}"
        if dataset in leaks:
            assert leaks[dataset] in record["leak"]
        else:
            assert record["leak"] is None
