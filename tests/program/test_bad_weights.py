"""Public weights that are refused: one sentence, nothing written, no code of theirs run."""

import pytest

from tests.support import bad_input
from tests.support.bad_weights import CASES


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return bad_input.run(CASES, tmp_path_factory.mktemp("cases"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_sentence_and_nothing_written(case, outcomes):
    bad_input.check(case, outcomes[case.name])
