"""Lines of progress: renewed on a terminal, whole and seldom elsewhere."""

import io
import sys

import pytest

from faceparse_jax.runtime import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def no_pause(monkeypatch):
    for name in ("_ON_TERMINAL", "_ELSEWHERE"):
        monkeypatch.setattr(progress, name, 0.0)


def test_in_a_file_each_state_is_a_line(no_pause, capsys):
    assert list(progress.bar("abc", "test", 3, "batches")) == ["a", "b", "c"]
    out, err = capsys.readouterr()
    assert out == ""
    assert "\r" not in err
    assert err.endswith("\n")
    told = [line.partition(" in ")[0] for line in err.splitlines()]
    assert list(dict.fromkeys(told)) == [f"test: {number}/3 batches" for number in range(4)]
    assert all(line.endswith(" left") for line in err.splitlines())


def test_in_a_file_what_is_short_says_nothing(capsys):
    assert list(progress.bar("abc", "test", 3, "batches")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_a_line_renews_itself(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress.bar("abc", "test", 3, "batches")) == ["a", "b", "c"]
    text = terminal.getvalue()
    assert "test: 100%" in text
    assert text.count("\r") >= 2
    assert text.count("\n") == 1


def test_what_is_compiled_is_said_at_once(capsys):
    progress.compiling("the evaluation")
    assert capsys.readouterr().err == "compiling the evaluation, which may take minutes\n"
