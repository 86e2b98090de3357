"""Says whether two records of runs or studies tell of the same numbers.

    python -m faceparse_jax.studies.compare studies/one/record.json studies/two/record.json

Exit status 0 where nothing differs but places and times, 1 where something does.
"""

import argparse
import sys
from typing import Any

from faceparse_jax.errors import InputError
from faceparse_jax.runtime import interrupts, places, records

EXIT_DIFFERENT, EXIT_BAD_INPUT = 1, 2
_FREE = ("seconds", "data_dir")  # last parts of keys that do not touch the numbers
_SHOWN = 40


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Keys whose values differ, with both values; "nothing" stands for a key that is not there."""
    left, right = records.flat(a), records.flat(b)
    found = []
    for key in sorted(left | right):
        # By their text, for which NaN is what it is.
        there = [repr(side[key]) if key in side else None for side in (left, right)]
        if there[0] != there[1] and key.rpartition(".")[2] not in _FREE:
            found.append((key, left.get(key, "nothing"), right.get(key, "nothing")))
    return found


def _read(path: str) -> dict[str, Any]:
    expected = "the record.json of a study or of one of its runs"
    return records.read(places.place(path, "record"), expected, "give the path of a record.json")


def _checksums(record: dict[str, Any]) -> dict[str, str]:
    ends = "parameters_sha256"
    return {key: value for key, value in records.flat(record).items() if key.endswith(ends)}


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m faceparse_jax.studies.compare", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("records", nargs=2, help="two files record.json")
    options = parser.parse_args(argv)
    try:
        both = [_read(path) for path in options.records]
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    found = differences(*both)
    # What the numbers come from first, then the numbers.
    found.sort(key=lambda item: (".scores." in item[0], item[0]))
    for key, left, right in found[:_SHOWN]:
        print(f"{key}: {left!r} and {right!r}")
    if len(found) > _SHOWN:
        print(f"and {len(found) - _SHOWN:,} more")
    checksums = [_checksums(record) for record in both]
    if not found:
        print("the same")
    elif checksums[0] and checksums[0] == checksums[1]:
        print("the parameters are the same")
    return EXIT_DIFFERENT if found else 0


if __name__ == "__main__":
    interrupts.run(main)
