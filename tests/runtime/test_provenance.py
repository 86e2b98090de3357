"""What a record says of the values and of the machine that it rests on."""

import os

import jax
import numpy as np
import pytest

from faceparse_jax.runtime import provenance


def test_a_checksum_follows_names_shapes_and_bits():
    tree = {"b": np.arange(4.0), "a": np.ones(2)}
    assert provenance.checksum(tree) == provenance.checksum(jax.tree.map(np.copy, tree))
    for other in (
        {"b": np.arange(4.0), "c": np.ones(2)},
        {"b": np.arange(4.0).reshape(2, 2), "a": np.ones(2)},
        {"b": np.nextafter(np.arange(4.0), 9), "a": np.ones(2)},
    ):
        assert provenance.checksum(other) != provenance.checksum(tree)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux pins processes")
def test_a_record_names_the_cores_a_process_may_use():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert provenance.device().endswith(" x cpu, cores: 1")
    finally:
        os.sched_setaffinity(0, allowed)
    assert provenance.device().endswith(f" x cpu, cores: {len(allowed)}")
