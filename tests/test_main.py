"""The command line: each mode has its flags, and --help and mistakes are answered at once."""

import subprocess
import sys

import pytest
from ml_collections import ConfigDict

from faceparse_jax import main
from faceparse_jax.errors import InputError
from faceparse_jax.prediction.parser import OUTPUTS
from faceparse_jax.runtime import command_line
from faceparse_jax.runtime.command_line import Flag, Mode
from tests.support.places import ROOT

MODES = {mode.name: mode for mode in main.MODES}
HEADS = "--config=configs/synthetic_heads.py"
SEVERAL = ("coordinator", "processes", "process", "coordinator_timeout")


def parse(*words):
    return command_line.parse(words, main.MODES)


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_modes_and_their_flags():
    found = {name: tuple(flag.name for flag in mode.flags) for name, mode in MODES.items()}
    assert found == {
        "train": ("config", *SEVERAL),
        "evaluate": ("checkpoint", "config", "out", *SEVERAL),
        "predict": (
            "image", "depth", "depth_kind", "depth_missing", "out", "checkpoint", "output",
            "crop", "probabilities", "uncertainty", "scheme", "tta", "strict",
        ),
        "study": ("config",),
        "replay": ("config",),
        "export": ("format", "checkpoint", "scores", "input", "output", "phone", "out"),
        "import": ("weights", "out"),
    }  # fmt: skip


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("--help", "--workdir=x", "--quick")])
def test_help_lists_every_mode_with_its_flags(words, capsys):
    with pytest.raises(SystemExit) as end:
        parse(*words)
    assert end.value.code == 0
    _, *parts = capsys.readouterr().out.split("\n--mode ")
    assert [part.split("\n")[0] for part in parts] == list(MODES)
    for part, mode in zip(parts, main.MODES, strict=True):
        listed = [line.split()[0] for line in part.splitlines() if line.startswith("    --")]
        assert listed == [f"--{flag.name}" for flag in mode.every_flag]
        assert ("--workdir" in listed) == (mode.name != "import")


@pytest.mark.parametrize("mode", MODES)
def test_help_of_a_mode_lists_its_flags_alone(mode, capsys):
    with pytest.raises(SystemExit):
        parse("--mode", mode, "--help")
    printed = capsys.readouterr().out
    assert printed.startswith(f"--mode {mode}\n    {MODES[mode].help}\n")
    assert printed.count("--mode") == 1
    for name in {flag.name for other in main.MODES for flag in other.flags}:
        own = name in [flag.name for flag in MODES[mode].flags]
        flags = printed.removeprefix(f"--mode {mode}\n    {MODES[mode].help}\n")
        assert (f"    --{name} " in flags.replace("\n", " ")) == own


def test_values_go_to_the_mode_by_name():
    mode, values = parse("--mode=predict", "--workdir=w", "--image", "a.png", "--out=o")
    assert mode is MODES["predict"]
    assert values == {
        "workdir": "w",
        "image": ["a.png"],
        "depth": None,
        "depth_kind": "benchmark",
        "depth_missing": None,
        "out": "o",
        "checkpoint": "best",
        "output": None,
        "crop": "auto",
        "probabilities": False,
        "uncertainty": False,
        "scheme": None,
        "tta": False,
        "strict": False,
    }
    words = ("--checkpoint=last", "--output=rgb", "--probabilities", "--depth=d.png")
    words += ("--depth_kind=metric", "--depth_missing=-1.5", "--strict")
    _, values = parse("--mode", "predict", "--workdir=w", "--out=o", *words)
    assert (values["checkpoint"], values["output"]) == ("last", "rgb")
    assert (values["probabilities"], values["depth"]) == (True, "d.png")
    assert (values["depth_kind"], values["depth_missing"]) == ("metric", -1.5)
    assert values["strict"]


@pytest.mark.parametrize(
    "words",
    [
        ("--image", "a.png", "b c.png", "--out=o", "--depth", "d.png"),
        ("-image", "a.png", "b c.png", "--depth", "d.png", "--out=o"),
        ("--image=a.png", "--depth=d.png", "--image=b c.png", "--out", "o"),
        ("--out", "o", "--depth", "d.png", "--image=a.png", "b c.png"),
    ],
)
def test_several_words_may_follow_a_flag(words):
    for mode in (("--mode=predict", *words), (*words, "--mode", "predict")):
        _, values = parse(*mode)
        assert values["image"] == ["a.png", "b c.png"]
        assert (values["depth"], values["out"]) == ("d.png", "o")


def test_training_is_the_mode_where_none_is_named():
    mode, values = parse("--workdir=w", HEADS, "--config.optim.rate=0.5", "--processes=2")
    assert mode is MODES["train"]
    assert values["config"].optim.rate == 0.5
    assert values["config"].is_locked
    assert (values["processes"], values["process"]) == (2, None)
    # Nothing is kept from one command line to the next.
    assert parse("--workdir=w", HEADS)[1]["config"].optim.rate != 0.5


def test_a_study_overrides_keys_of_its_base():
    words = ("--config=configs/studies/synthetic.py", "--config.base.optim.rate=0.5")
    _, values = parse("--mode=study", "--workdir=w", *words)
    assert values["config"].base.optim.rate == 0.5


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--workdir=w", HEADS, "--image=x"), "--image: found it with --mode train, expected "
         "--mode predict; next: leave --image out"),
        (("--workdir=w", "--mode=predict", HEADS), "expected --mode train or evaluate or study"),
        (("--workdir=w", "--mode=predict", "--config.seed=1"), "leave --config out"),
        (("--workdir=w", "--mode=study", HEADS, "--coordinator=auto"), "--mode train or evaluate"),
        (("--workdir=w", "--mode=replay", "--process=1"), "found it with --mode replay"),
        (("--workdir=w", "--mode=study", "--noprobabilities"), "--noprobabilities"),
        (("--workdir=w", "--mode=evaluate", "--config.eval.flip=True"), "no --config before it"),
        (("--workdir=w", "--mode=evaluate", "--quick"), "one of --workdir, --checkpoint"),
        (("--workdir=w", "--mode=tune"), "'tune', expected one of train, evaluate"),
        (("--workdir=w", "--mode="), "''"),
        (("--mode=evaluate",), "--workdir: found nothing"),
        (("--workdir=w",), "--config: found nothing"),
        (("--workdir=w", "--mode=study"), "add --config configs/studies/synthetic.py"),
        (("--workdir=w", "--mode=predict"), "--image photo.jpg"),
        (("--workdir=w", "--mode=predict", "--out=o", "--output=ir"), "fusion"),
        (("--workdir=w", HEADS, "--process=two"), "two"),
        (("--workdir=w", HEADS, "--config.optim.rat=1"), "rat"),
        (("--workdir=w", "--config.seed=1", HEADS), "before a value for --config"),
        (("--workdir=w", HEADS, "please"), "stray words ['please']"),
        (("--mode=predict", "--out=o", "--image"), "--image: found nothing, expected one word"),
        (("--mode=predict", "--image", "--out=o"), "--image: found nothing, expected one word"),
        (("--mode=predict", "--image=a", "--out=o", "b"), "stray words ['b']"),
        (("--mode=predict", "--depth", "a", "b", "--out=o"), "stray words ['b']"),
        (("--workdir",), "Missing value for flag --workdir"),
        (("--workdir=w", "--config="), "--config"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(words, says):
    with pytest.raises(InputError) as error:
        parse(*words)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_outputs_are_those_of_the_parser():
    assert next(f.kind for f in MODES["predict"].flags if f.name == "output") == OUTPUTS


def test_a_mode_of_any_kind_of_flag():
    """All kinds, in a mode that is made up."""
    flags = (
        Flag("many", int, 3, "A number."),
        Flag("quick", bool, False, "A switch."),
        Flag("word", ("a", "b"), "a", "A word."),
        command_line.config_flag("A file."),
    )
    modes = (Mode("work", "Works.", print, flags),)
    _, values = command_line.parse(["--workdir=w", "--many", "4", "--noquick", "--word=b"], modes)
    assert values == {"workdir": "w", "many": 4, "quick": False, "word": "b", "config": None}
    _, values = command_line.parse(["--workdir=w", HEADS], modes)
    assert isinstance(values["config"], ConfigDict)


_HEAVY = ("jax", "flax", "numpy", "tensorflow", "orbax", "PIL")


def test_nothing_heavy_is_imported_before_the_words_are_read():
    code = (
        "import sys, faceparse_jax.main as m\n"
        "sys.argv[1:] = ['--mode=predict', '--workdir=w', '--quick']\n"
        "try: m.main()\n"
        "except SystemExit as end: assert end.code == 2\n"
        f"print([name for name in {_HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
    assert done.stderr.startswith("error: --quick: found no such flag")
