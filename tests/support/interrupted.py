"""Sends Ctrl-C to commands at random moments, and says what is wrong with how they end.

    python -m tests.support.interrupted --out runs/interrupted --tries 50

A command that was stopped has status 130, one sentence on standard error beside its ordinary
progress, and files that are those of a whole command or not there. The same command then ends
with the files of a command that nothing disturbed. Moments are drawn over the time from the
command's first line to its end; before it, Python itself is starting.
"""

import argparse
import collections
import dataclasses
import hashlib
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from tests.support.dummy_archives import celebamask_hq
from tests.support.places import ROOT

SENTENCE = re.compile(r"stopped by SIGINT; .*; next: the same command (again|resumes)")
# Bars on a terminal and off it, the line of a training step, and what MediaPipe logs.
_PROGRESS = re.compile(
    r".*\d+%\|.*\|.* \d+/\d+ \[|.*: \d+/\d+ \w+ in |step +\d+/|[IWE]0000 |INFO: |W.*: All log"
)
_HALF = re.compile(r"partial|incomplete|tmp")
# Whose bytes are the same each time; other files tell the time.
_SAME = re.compile(r"\.(png|npy|bin|csv)$")
_RENEWED = ("results.csv", "plot.png")  # a study writes them after each of its runs
_STUDY = """
from faceparse_jax.configs.studies import arms
from tests.support.studies import both_alone, tiny_study

def get_config():
    c = tiny_study({data!r})
    c.arms, c.conditions, c.seeds = both_alone(), arms.depth_fractions(0.5), (0,)
    return c
"""


@dataclasses.dataclass(frozen=True)
class Command:
    """A command whose interruption is tried.

    Attributes:
        words: behind ``python -m``; ``{out}`` stands for a folder of each try.
        begin: fills that folder.
        python: that runs it.
    """

    name: str
    words: tuple[str, ...]
    begin: Callable[[pathlib.Path], None] = lambda out: None
    python: str = sys.executable


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended; `seconds` from its first line, `files` by path with their hashes."""

    status: int
    seconds: float
    stderr: str
    files: dict[str, str]

    @property
    def lines(self) -> list[str]:
        return [line for line in re.split(r"[\r\n]+", self.stderr) if line.strip()]


def run(command: Command, out: pathlib.Path, moment: float | None = None) -> Ended:
    """Runs a command, and sends SIGINT to it and its children `moment` seconds after its start."""
    words = [word.format(out=out) for word in command.words]
    log = out.with_suffix(".err")
    with log.open("wb") as err:
        process = subprocess.Popen(
            [command.python, "-m", *words],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=err,
            start_new_session=True,
        )
    while process.poll() is None and not _catches(process.pid):
        time.sleep(0.002)
    since = time.monotonic()
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
    seconds = time.monotonic() - since
    return Ended(process.returncode, seconds, log.read_text(), dict(_files(out)))


def _catches(process: int) -> bool:
    """Whether a process catches SIGTERM, which Python by itself does not."""
    status = pathlib.Path(f"/proc/{process}/status").read_text()
    found = re.search(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)
    return bool(found) and bool(int(found[1], 16) >> (signal.SIGTERM - 1) & 1)


def _files(out: pathlib.Path) -> Iterator[tuple[str, str]]:
    for path in sorted(out.rglob("*")):
        if path.is_file():
            same = _SAME.search(path.name) and "tensorboard" not in path.parts
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if same else ""
            # The names of TensorBoard's files and of checkpoints' arrays tell the time.
            parts = path.relative_to(out).parts
            if not {"tensorboard", "checkpoints"} & set(parts):
                yield str(pathlib.PurePath(*parts)), digest


def faults_of_stop(ended: Ended, whole: Ended, out: pathlib.Path) -> list[str]:
    """What is wrong with a command that a signal stopped, beside one that nothing disturbed."""
    faults = []
    if ended.status != 128 + signal.SIGINT:
        faults.append(f"status {ended.status}")
    told = [line for line in ended.lines if SENTENCE.fullmatch(line)]
    if len(told) != 1:
        faults.append(f"{len(told)} sentences")
    ordinary = {*told, *whole.lines}
    faults += [
        f"on standard error: {line}"
        for line in ended.lines
        if line not in ordinary and not _PROGRESS.match(line)
    ]
    names = [str(path.relative_to(out)) for path in sorted(out.rglob("*"))]
    faults += [f"half written: {name}" for name in names if _HALF.search(name)]
    faults += [
        f"other bytes: {name}"
        for name, digest in ended.files.items()
        if digest and name not in _RENEWED and whole.files.get(name, digest) != digest
    ]
    return faults


def faults_of_end(ended: Ended, whole: Ended) -> list[str]:
    """What is wrong with the same command after it was stopped."""
    faults = [f"again: status {ended.status}"] if ended.status != whole.status else []
    for name in sorted(ended.files.keys() | whole.files.keys()):
        if ended.files.get(name) != whole.files.get(name):
            faults.append(f"again: other or no file {name}")
    return faults


def attempt(
    command: Command, whole: Ended, out: pathlib.Path, moment: float
) -> tuple[Ended, list[str]] | None:
    """Stops a command and runs it again; None where it ended before the signal came."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    command.begin(out)
    stopped = run(command, out, moment)
    if stopped.status == whole.status and not SENTENCE.search(stopped.stderr):
        return None
    faults = faults_of_stop(stopped, whole, out)
    return stopped, faults + faults_of_end(run(command, out), whole)


def undisturbed(command: Command, out: pathlib.Path) -> Ended:
    """The command from begin to end, when what it compiles is compiled already."""
    for _ in range(2 if "faceparse_jax.main" in command.words else 1):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        command.begin(out)
        whole = run(command, out)
        if whole.status:
            raise RuntimeError(f"{command.name} failed: {whole.stderr}")
    return whole


def light(base: pathlib.Path) -> list[Command]:
    """Commands of few seconds, which need nothing but an archive of five faces."""
    if not (base / "manual").is_dir():
        celebamask_hq(base / "manual")
    record = base / "record.json"
    record.write_text('{"scores": {}}')
    heads = ("tfds_builders.build", "--name=synthetic_heads", "--config=tiny")
    faces = ("tfds_builders.build", "--name=celebamask_hq_d", f"--manual_dir={base / 'manual'}")
    return [
        Command("build heads", (*heads, "--data_dir={out}/new/data")),
        Command("build faces", (*faces, "--data_dir={out}/new/data")),
        Command("check", (*faces, "--check")),
        Command(
            "export",
            ("faceparse_jax.data.synthetic.export", "--out={out}", "--count=24", "--size=128"),
        ),
        Command("compare", ("faceparse_jax.studies.compare", str(record), str(record))),
        Command("config", ("faceparse_jax.config",)),
        Command("labels", ("faceparse_jax.labels",)),
    ]


def heavy(base: pathlib.Path) -> list[Command]:
    """Commands that need prepared data or a trained run, which are made first."""
    data, trained, photos = base / "data", base / "run", base / "heads"
    main = "faceparse_jax.main"
    config = (
        "--config=configs/synthetic_heads.py", "--config.data.config=tiny", "--config.data.size=64",
        "--config.augment.crop=64", "--config.model.width=0.125", "--config.train.steps=12",
        "--config.train.batch=8", "--config.eval.every=6", "--config.eval.batch=4",
        "--config.log.every=1", "--config.log.pictures_every=12", "--config.checkpoint.every=4",
        "--config.loss.depth=0", "--config.loss.e2e=0", "--config.loss.mutual=0",
        "--config.loss.translation=0", f"--config.data.data_dir={data}",
    )  # fmt: skip
    made = (
        ()
        if photos.is_dir()
        else (
            (
                "tfds_builders.build",
                "--name=synthetic_heads",
                "--config=tiny",
                f"--data_dir={data}",
            ),
            (main, f"--workdir={trained}", *config),
            ("faceparse_jax.data.synthetic.export", f"--out={photos}", "--count=24"),
        )
    )
    for words in made:
        subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=True, capture_output=True)
    study = base / "study.py"
    study.write_text(_STUDY.format(data=str(data)))
    shutil.rmtree(trained / "evaluation", ignore_errors=True)

    def copy(source):
        return lambda out: shutil.copytree(source, out, dirs_exist_ok=True)

    decode = ("faceparse_jax.data.decode", "--name=synthetic_heads", "--config=tiny", "--size=64")
    predict = ("--mode=predict", f"--workdir={trained}", f"--image={photos / 'images'}")
    return [
        Command("train", (main, "--workdir={out}", *config)),
        Command("evaluate", (main, "--mode=evaluate", "--workdir={out}"), copy(trained)),
        Command("predict", (main, *predict, "--out={out}/parsed")),
        Command("study", (main, "--mode=study", f"--config={study}", "--workdir={out}")),
        Command("decode", (*decode, "--data_dir={out}"), copy(data)),
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--tries", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="commands, with commas")
    parser.add_argument("--depth_python", help="of make_depth's environment, to try it too")
    parser.add_argument("--photos", type=pathlib.Path, help="a folder of photographs for it")
    options = parser.parse_args()
    base, rng = options.out.absolute(), random.Random(options.seed)
    base.mkdir(parents=True, exist_ok=True)  # what an earlier call prepared there is used again
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(base / "compiled"))
    commands = light(base) + heavy(base)
    if options.depth_python:
        words = ("faceparse_jax.data.make_depth", f"--images={options.photos}", "--out={out}")
        commands.append(Command("make_depth", words, python=options.depth_python))
    if options.only:
        commands = [command for command in commands if command.name in options.only.split(",")]
    whole = {command.name: undisturbed(command, base / "whole") for command in commands}
    right: collections.Counter[str] = collections.Counter()
    number, late = 0, 0
    while number < options.tries:
        command = commands[number % len(commands)]
        moment = rng.uniform(0, whole[command.name].seconds)
        tried = attempt(command, whole[command.name], base / "try", moment)
        if tried is None:
            late += 1
            continue
        number += 1
        ended, faults = tried
        right["as promised" if not faults else "WRONG"] += 1
        at = f"{moment:6.2f} of {whole[command.name].seconds:6.2f} s"
        after = f"ended {ended.seconds - moment:5.2f} s later"
        told = "; ".join(faults) or "as promised"
        print(f"{number:>3}  {command.name:20} {at}, {after}: {told}", flush=True)
    print(f"{dict(right)}; {late} more ended before the signal came")
    return 1 if right["WRONG"] else 0


if __name__ == "__main__":
    sys.exit(main())
