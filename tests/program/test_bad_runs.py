"""Bad configs, checkpoints, studies and predictions."""

import numpy as np
import pytest

from faceparse_jax.config import FIELDS, expected, inside, interval, parse
from faceparse_jax.errors import InputError
from faceparse_jax.training.loop import train
from tests.support import bad_input
from tests.support.bad_runs import CASES, RUN
from tests.support.runs import small_config, tiny_config


@pytest.fixture(scope="module")
def outcomes(data_dir, tmp_path_factory):
    data, base = data_dir, tmp_path_factory.mktemp("cases")
    run = tmp_path_factory.mktemp("runs") / "run"
    config = small_config(data, 1)
    config.eval.every = 1
    train(config, run)
    RUN[:] = [run]
    return bad_input.run(CASES, base, data=data, run=run)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_sentence_and_nothing_written(case, outcomes):
    bad_input.check(case, outcomes[case.name])


@pytest.mark.parametrize("key", [key for key in FIELDS if interval(key)])
def test_every_range_is_kept(key, tmp_path):
    """Just outside each end of each interval."""
    between = interval(key)
    low, high = (float(end) for end in between[1:-1].split(","))
    outside = [low if between[0] == "(" else low - 1]
    outside += [high if between[-1] == ")" else high + 1] if np.isfinite(high) else []
    for value in outside:
        config = tiny_config(tmp_path)
        kind = type(config.to_dict()[key] if "." not in key else _get(config, key))
        config.update_from_flattened_dict({key: kind(value)})
        with pytest.raises(InputError, match=key) as caught:
            parse(config)
        assert expected(key) in str(caught.value)
    assert not inside(float("nan"), between)
    parse(tiny_config(tmp_path))


def _get(config, key):
    section, name = key.split(".")
    return config[section][name]
