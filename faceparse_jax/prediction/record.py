"""The record of a folder of predictions, which holds what is done however a call ends."""

import contextlib
import json
import pathlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from faceparse_jax.errors import InputError
from faceparse_jax.runtime import interrupts, records
from faceparse_jax.runtime.provenance import code_version

RECORD = "predictions.json"
JOURNAL = "predictions.partial.jsonl"
"""A line for each input since the last whole record."""
MARK = "faceparse_jax"
"""In every file of a prediction, so that no other file is ever replaced."""


def recorded(out: pathlib.Path) -> dict[str, Any]:
    """The entries of earlier calls, by stem, also of calls that did not end."""
    path, journal = out / RECORD, out / JOURNAL
    entries = json.loads(path.read_text())["predictions"] if path.exists() else {}
    lines = journal.read_text().splitlines() if journal.exists() else []
    for line in lines[1:]:
        with contextlib.suppress(ValueError, TypeError):  # the last one may be torn
            entries |= json.loads(line)
    return {stem: entry for stem, entry in entries.items() if isinstance(entry, dict)}


def is_record(path: pathlib.Path) -> bool:
    """Whether this is the record or the journal of a prediction, and no other's file."""
    try:
        if path.name == JOURNAL:
            lines = path.read_text().splitlines()
            return not lines or json.loads(lines[0])["written_by"] == MARK
        record = json.loads(path.read_text())
        return record["written_by"] == MARK and isinstance(record["predictions"], dict)
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        return False


def written(out: pathlib.Path) -> set[str]:
    """The files that the record names; none where the record is another's."""
    if not all(is_record(out / name) for name in (RECORD, JOURNAL) if (out / name).exists()):
        return set()
    entries = recorded(out).values()
    return {name for entry in entries for name in entry.get("written", {}).values()}


def holds_results(folder: pathlib.Path) -> bool:
    """Whether a prediction wrote to a folder, also one that did not end."""
    return any(is_record(folder / name) for name in (RECORD, JOURNAL))


@contextlib.contextmanager
def journaled(out: pathlib.Path) -> Iterator[Callable[[str, dict[str, Any]], None]]:
    """Keeps a line for each entry; at the end, however it comes, the record holds them all.

    Several threads may call what it gives.
    """
    path, one = out / JOURNAL, threading.Lock()
    entries = recorded(out)
    header = {"written_by": MARK}
    lines = [header, *({stem: entry} for stem, entry in entries.items())]
    try:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        replace(path, lambda whole: whole.write(text.encode()))
        with path.open("a") as file:

            def add(stem, entry):
                line = json.dumps({stem: entry}) + "\n"
                with one:
                    entries[stem] = entry
                    file.write(line)
                    file.flush()

            try:
                yield add
            finally:
                whole = {"code_version": code_version(), "predictions": entries}
                with interrupts.held():
                    records.write(out / RECORD, header | whole)
                    path.unlink()
    except OSError as error:
        raise InputError(
            str(path), str(error), "a file that can be written", "choose another --out"
        ) from error


def replace(path: pathlib.Path, write: Callable[[BinaryIO], Any]) -> None:
    """Writes beside the target first, so that a reader never sees half a file."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            write(file)
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(
                str(path), str(error), "a file that can be written", "choose another --out"
            ) from error
        raise
