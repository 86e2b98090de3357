"""Modes of one command, each with flags of its own: declared, listed by --help, parsed.

A mode stands beside the code that it runs and imports that code when it is run, so that --help
and a wrong flag answer at once.
"""

import dataclasses
import os
import pathlib
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from faceparse_jax.errors import InputError

COMMAND = "python -m faceparse_jax.main"
_CONFIGS = pathlib.Path(__file__).parents[1] / "configs"


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag of a mode.

    Attributes:
        name: without dashes.
        kind: of its value; `ConfigDict` for a file whose keys flags override, as in
            ``--config.optim.rate=0.005``; words to choose from; `list` for words of which
            several may follow, as in ``--image a.jpg b.jpg``.
        default: the value where the flag is not given.
        help: a sentence.
        needed: what a user without the flag is told to add; empty where it may be left out.
    """

    name: str
    kind: type[str | int | float | bool | list | ConfigDict] | tuple[str, ...]
    default: Any
    help: str
    needed: str = ""


WORKDIR = Flag(
    "workdir", str, None, "The folder of the run, or of the study.", needed="--workdir runs/one"
)


@dataclasses.dataclass(frozen=True)
class Mode:
    """What the command can do.

    Attributes:
        help: a sentence.
        run: takes the workdir and then every flag by its name.
        flags: all that it reads beside the workdir.
        workdir: the flag of the workdir, which may be left out where it needs nothing; None for a
            mode without one, whose `run` gets None.
        packed: whether a packed file may stand for the workdir.
    """

    name: str
    help: str
    run: Callable[..., None]
    flags: tuple[Flag, ...]
    workdir: Flag | None = WORKDIR
    packed: bool = False

    @property
    def every_flag(self) -> tuple[Flag, ...]:
        """That of the workdir, if there is one, and the others."""
        return (*([self.workdir] if self.workdir else []), *self.flags)


def config_flag(help: str, needed: str = "") -> Flag:
    """``--config``, a file, behind which flags such as ``--config.seed=1`` set its keys.

    The file is one that is there, or one of the package's, such as ``configs/lapa_d.py``, which
    the name ``lapa_d`` means too.
    """
    return Flag("config", ConfigDict, None, help, needed)


def parse(
    words: Sequence[str], modes: Sequence[Mode], about: str = ""
) -> tuple[Mode, dict[str, Any]]:
    """The mode of a command line, the first one where none is named, and its flags' values.

    Where the words ask for help, it is printed, and the process exits.

    Args:
        words: without the command itself.
        about: what the help of all modes begins with.

    Raises:
        InputError: a mode, a flag, a value or a config that is not there or cannot be, a flag of
            another mode, or a flag that is missing.
    """
    first = flags.FlagValues()
    flags.DEFINE_string("mode", None, "", flag_values=first)
    flags.DEFINE_bool("help", False, "", short_name="h", flag_values=first)
    words = _parsed(first, words, known_only=True)
    named = {mode.name: mode for mode in modes}
    if first["mode"].value not in (None, *named):
        raise InputError(
            "--mode",
            repr(first["mode"].value),
            f"one of {', '.join(named)}",
            f"run {COMMAND} --help",
        )
    if first["help"].value:
        mode = first["mode"].value
        print(_help([named[mode]]) if mode else f"{about}\n{_help(modes)}")
        raise SystemExit(0)
    mode = named[first["mode"].value or modes[0].name]
    words = list(_with_shipped_configs(_one_by_one(words, mode), mode))
    values = flags.FlagValues()
    for flag in mode.every_flag:
        _define(flag, values, words)
    try:
        rest = _parsed(values, words)
    except flags.UnrecognizedFlagError as error:
        raise _unknown(error.flagname, mode, modes) from error
    if rest:
        raise InputError(
            "command line",
            f"stray words {rest}",
            "flags only, as --name=value",
            f"run {COMMAND} --help",
        )
    return mode, {flag.name: _value(flag, values) for flag in mode.every_flag}


def run_config(config: ConfigDict | None) -> ConfigDict | None:
    """A config where that of a run is expected.

    Raises:
        InputError: it is a study's.
    """
    if config is not None and "arms" in config:
        raise InputError("--config", "a study", "a run", "add --mode study")
    return config


_VALUES = {
    str: " TEXT",
    list: " TEXT...",
    int: " NUMBER",
    float: " NUMBER",
    bool: "",
    ConfigDict: " FILE",
}


def _help(modes: Sequence[Mode]) -> str:
    """What the modes do, and their flags."""
    lines = []
    for mode in modes:
        lines += [f"--mode {mode.name}", f"    {mode.help}"]
        for flag in mode.every_flag:
            if isinstance(flag.kind, tuple):
                value = f" {'|'.join(flag.kind)}"
            else:
                value = _VALUES[flag.kind]
            told = flag.help
            if flag.needed:
                told += " Required."
            elif flag.default not in (None, False):
                told += f" Default: {flag.default}."
            lines.append(f"    --{flag.name}{value}")
            lines += textwrap.wrap(told, 90, initial_indent=" " * 8, subsequent_indent=" " * 8)
        lines.append("")
    return "\n".join(lines[:-1])


def _shipped_configs() -> dict[str, pathlib.Path]:
    """The package's experiments and studies, by names such as ``studies/synthetic``."""
    files = sorted(_CONFIGS.rglob("*.py"))
    return {
        path.relative_to(_CONFIGS).with_suffix("").as_posix(): path
        for path in files
        if "def get_config(" in path.read_text()
    }


def _one_by_one(words: Sequence[str], mode: Mode) -> Iterator[str]:
    """The words, with a flag that several may follow before each of them."""
    named = [f"{dash}{f.name}" for f in mode.flags if f.kind is list for dash in ("-", "--")]
    flag = ""
    for word, following in zip(words, (*words[1:], "-"), strict=False):
        if word in named:
            if following.startswith("-"):
                raise InputError(word, "nothing", "one word or several", f"run {COMMAND} --help")
            flag = word
        elif word.startswith("-"):
            name = word.partition("=")[0]
            flag = name if name in named else ""
            yield word
        else:
            yield f"{flag}={word}" if flag else word


def _with_shipped_configs(words: Iterable[str], mode: Mode) -> Iterator[str]:
    """The words, with the package's config where one names a file that is not there."""
    named = [f"{dash}{f.name}" for f in mode.flags if f.kind is ConfigDict for dash in ("-", "--")]
    before = ""
    for word in words:
        flag, equals, file = word.partition("=")
        if before in named:
            yield _config_file(word)
        elif flag in named and equals:
            yield f"{flag}={_config_file(file)}"
        else:
            yield word
        before = word


def _config_file(given: str) -> str:
    """The file that is meant; a colon may follow its name, and then what its config is made of."""
    if not _CONFIGS.is_dir():
        raise InputError(
            str(_CONFIGS),
            "a text file in place of a link to the folder configs of the checkout",
            "a checkout with symbolic links",
            f"replace {_CONFIGS} by a copy of that folder, or run git config core.symlinks true "
            "and git checkout faceparse_jax/configs",
        )
    # A folder may have a config's name, as prepared data have.
    if any(os.path.exists(p) and not os.path.isdir(p) for p in (given, given.partition(":")[0])):
        return given
    shipped = _shipped_configs()
    name = given.removeprefix("./").removeprefix("configs/").removesuffix(".py")
    if name not in shipped:
        raise InputError(
            f"--config {given}".rstrip(),
            "no such file",
            f"a file of yours, or one of the package's: {', '.join(shipped)}",
            "check the path or the name",
        )
    return str(shipped[name])


def _define(flag: Flag, values: flags.FlagValues, words: Sequence[str]) -> None:
    if flag.kind is ConfigDict:
        config_flags.DEFINE_config_file(
            flag.name, flag.default, flag.help, flag_values=values, sys_argv=[COMMAND, *words]
        )
    elif isinstance(flag.kind, tuple):
        flags.DEFINE_enum(flag.name, flag.default, flag.kind, flag.help, flag_values=values)
    else:
        define = {
            str: flags.DEFINE_string,
            int: flags.DEFINE_integer,
            float: flags.DEFINE_float,
            bool: flags.DEFINE_bool,
            list: flags.DEFINE_multi_string,
        }
        define[flag.kind](flag.name, flag.default, flag.help, flag_values=values)


def _parsed(values: flags.FlagValues, words: Sequence[str], known_only: bool = False) -> list[str]:
    """Gives the flags their values and returns the words that are none of theirs."""
    try:
        return values([COMMAND, *words], known_only=known_only)[1:]
    except flags.UnrecognizedFlagError:
        raise
    except Exception as error:  # a config is a program and fails as it likes
        # Some errors of config files carry a whole traceback; its end says what happened.
        lines = str(error).strip().splitlines()
        told = lines[-1] if any("Traceback" in line for line in lines) else " ".join(lines)
        kind = "" if isinstance(error, flags.Error) else f"{type(error).__name__}: "
        next_step = f"run {COMMAND} --help, or python -m faceparse_jax.config for the keys"
        if isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "configs":
            next_step = "import the package's configs from faceparse_jax.configs"
        raise InputError(
            "the command line, or the file of --config",
            kind + " ".join(told.split()),
            "flags that --help lists, and keys that the config has",
            next_step,
        ) from error


def _unknown(name: str, mode: Mode, modes: Sequence[Mode]) -> InputError:
    """What to tell of a flag that the mode does not read."""
    flag = name.partition(".")[0]
    own = [other.name for other in mode.every_flag]
    readers = [m.name for m in modes if flag in (other.name for other in m.every_flag)]
    if flag in own:  # a key of the file
        return InputError(
            f"--{name}", f"no --{flag} before it", "the file whose key it is", f"add --{flag} FILE"
        )
    if readers:
        return InputError(
            f"--{flag}",
            f"it with --mode {mode.name}",
            f"--mode {' or '.join(readers)}",
            f"leave --{flag} out",
        )
    return InputError(
        f"--{name}",
        "no such flag",
        f"--mode or, with --mode {mode.name}, one of --{', --'.join(own)}",
        f"run {COMMAND} --mode {mode.name} --help",
    )


def _value(flag: Flag, values: flags.FlagValues) -> Any:
    value = values[flag.name].value
    if value is None and flag.needed:
        raise InputError(
            f"--{flag.name}",
            "nothing",
            flag.help[0].lower() + flag.help[1:].rstrip("."),
            f"add {flag.needed}",
        )
    if flag.kind is not ConfigDict or value is None:
        return value
    try:
        # A file that failed to load gives an object that raises on first use.
        return value.lock()
    except (OSError, AttributeError) as error:
        found = str(error).strip().splitlines()[-1].strip()
        raise InputError(
            f"--{flag.name}", found, "a file of configs/, or one of your own", "check the path"
        ) from error
