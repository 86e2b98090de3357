"""Batches that a thread draws ahead: their order, how many wait, and how drawing ends."""

import itertools
import threading

import pytest

from faceparse_jax.data.batches import AHEAD, drawn_ahead


def alive():
    return [thread for thread in threading.enumerate() if thread.name.startswith("drawn_ahead")]


def test_items_come_in_order_and_no_more_than_a_few_ahead():
    drawn, came = [], threading.Semaphore(0)

    def items():
        for number in range(7):
            drawn.append(number)
            came.release()
            yield number

    with drawn_ahead(items()) as ahead:
        for _ in range(AHEAD):  # without being asked
            assert came.acquire(timeout=10)
        assert drawn == list(range(AHEAD))
        for number in range(7):
            assert next(ahead) == number
            assert len(drawn) <= number + 1 + AHEAD
        assert list(ahead) == []
    assert not alive()


def test_an_error_comes_where_its_item_is_asked_for():
    def items():
        yield from range(3)
        raise ValueError("the fourth")

    with drawn_ahead(items()) as ahead:
        assert list(itertools.islice(ahead, 3)) == [0, 1, 2]
        with pytest.raises(ValueError, match="the fourth"):
            next(ahead)


def test_the_thread_ends_with_a_loop_that_fails():
    begun = itertools.count()

    def failing_loop():
        with drawn_ahead(begun) as ahead:
            raise KeyError(next(ahead))

    with pytest.raises(KeyError):
        failing_loop()
    assert not alive()
    assert next(begun) <= 1 + AHEAD
