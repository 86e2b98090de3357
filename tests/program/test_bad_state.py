"""Damaged files that one command left for another: prepared data, arrays, runs, studies."""

import pickle

import pytest

from faceparse_jax.checkpoints.pack import pack
from faceparse_jax.data import decode as arrays_command
from faceparse_jax.training.loop import train
from tests.support import bad_input
from tests.support.bad_runs import RUN
from tests.support.bad_state import CASES, DATA, PACKED, trap
from tests.support.places import ROOT
from tests.support.runs import small_config


@pytest.fixture(scope="module")
def outcomes(data_dir, tmp_path_factory):
    data, base = data_dir, tmp_path_factory.mktemp("cases")
    run = tmp_path_factory.mktemp("runs") / "run"
    config = small_config(data, 1)
    config.eval.every = 1
    train(config, run)
    arrays_command.write("synthetic_heads", "tiny", data, 64)
    file = tmp_path_factory.mktemp("networks") / "a.safetensors"
    pack(run, "best", (), file)
    RUN[:], DATA[:], PACKED[:] = [run], [data], [file]
    return bad_input.run(CASES, base, data=data, run=run)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_sentence_and_nothing_written(case, outcomes):
    bad_input.check(case, outcomes[case.name])


def test_a_pickle_of_the_corpus_would_show(tmp_path):
    pickle.loads(trap(tmp_path))
    assert bad_input.listing(tmp_path).keys() == {"trapped"}


def test_the_corpus_is_as_large_as_the_docs_say():
    cases = bad_input.corpus()
    assert len({case.name for case in cases}) == len(cases) >= 100
    docs = (ROOT / "docs" / "reliability.md").read_text()
    assert bad_input.count(cases) in docs
