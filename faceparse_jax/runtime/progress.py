"""How far something is, on standard error: a line that renews itself on a terminal, and one now
and then where standard error is a file or a pipe."""

import io
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import tqdm

Item = TypeVar("Item")
_ON_TERMINAL, _ELSEWHERE = 0.5, 30.0


def seconds() -> float:
    """How far apart the lines are."""
    return _ON_TERMINAL if sys.stderr.isatty() else _ELSEWHERE


def bar(items: Iterable[Item], what: str, total: int | None, unit: str) -> Iterator[Item]:
    """Passes on what comes, and says how much of it came; of what is short, on a terminal alone.

    Args:
        what: what is done, before the numbers.
        total: how many will come; None where nobody knows.
        unit: what is counted, in the plural.
    """
    apart = seconds()
    if sys.stderr.isatty():
        options: dict[str, Any] = {}
    else:
        options = {"file": _Lines(), "bar_format": _PLAIN, "delay": apart}
    yield from tqdm.tqdm(
        items, what, total, unit=f" {unit}", mininterval=apart, maxinterval=apart, **options
    )


def compiling(what: str) -> None:
    """Says that a program is compiled, which can take minutes without a sign of life."""
    print(f"compiling {what}, which may take minutes", file=sys.stderr, flush=True)


_PLAIN = "{desc}: {n_fmt}/{total_fmt}{unit} in {elapsed}, {rate_noinv_fmt}, {remaining} left"


class _Lines(io.TextIOBase):
    """Each state of a bar becomes a line of standard error, written at once."""

    def write(self, text: str) -> int:
        if state := text.strip():
            print(state, file=sys.stderr, flush=True)
        return len(text)
