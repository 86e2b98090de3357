"""Damaged files that one command left for another: prepared data, arrays, runs, studies."""

import json
import os
import pathlib
import pickle
import shutil

import numpy as np

from faceparse_jax.data.synthetic.heads import VERSION
from tests.support.bad_input import BUILD, MAIN, Case, nothing
from tests.support.bad_runs import (
    HEADS,
    PHOTO,
    STUDY,
    Trap,
    _checkpoint,
    _config,
    _line,
    _predict,
    _study,
    copied,
    files,
    finished,
    meta,
    own_file,
    step,
)
from tests.support.files import half, npy

PLACE = f"synthetic_heads/tiny/{VERSION}"
TRAIN = "synthetic_heads-train.tfrecord-00000-of-00001"
TEST = TRAIN.replace("train", "test")
VALIDATION = TRAIN.replace("train", "validation")
DATA: list[pathlib.Path] = []  # prepared data with their arrays, when there are some


def prepared(damage):
    """A copy of the prepared data, damaged in the folder of its version."""

    def make(folder: pathlib.Path) -> None:
        shutil.copytree(DATA[0], folder / "data")
        damage(folder / "data" / PLACE)

    return make


def write(name: str, data: bytes | str):
    return lambda place: (place / name).write_bytes(
        data.encode() if isinstance(data, str) else data
    )


def change(name: str, how):
    def damage(place: pathlib.Path) -> None:
        (place / name).write_bytes(how((place / name).read_bytes()))

    return damage


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(x ^ 0xFF for x in data[middle : middle + 50]) + data[middle + 50 :]


def edited(how):
    """JSON bytes with a change to the object that they hold."""

    def edit(text):
        value = json.loads(text)
        how(value)
        return json.dumps(value).encode() if isinstance(text, bytes) else json.dumps(value)

    return edit


def trap(folder: pathlib.Path) -> bytes:
    """A pickle that leaves a file in the folder when it is loaded."""
    return pickle.dumps(Trap(folder / "trapped"))


def lose(name: str):
    return lambda place: (place / name).unlink()


SMALL = [f"--config.loss.{term}=0" for term in ("depth", "e2e", "mutual", "translation")]
SMALL += ["--config.data.size=64", "--config.augment.crop=64", "--config.data.config=tiny"]
SMALL += ["--config.model.width=0.125", "--config.train.steps=1", "--config.devices=1"]


def _data(name, says, damage, *flags):
    words = [MAIN, "--workdir={folder}/run", HEADS, "--config.data.data_dir={folder}/data"]
    return Case(f"data: {name}", "prepared data", prepared(damage), [*words, *SMALL, *flags], says)


def _scored(name, says, damage, *flags, area="prepared data"):
    words = [MAIN, "--workdir={run}", HEADS, "--config.data.data_dir={folder}/data"]
    words += ["--mode=evaluate", "--config.devices=1", *flags]
    return Case(f"evaluation: {name}", area, prepared(damage), words, says)


def _arrays(name, says, damage):
    def within(place):
        damage(place / "arrays_64" / "train")

    case = _data(name, says, within, "--config.data.source=arrays")
    return Case(f"arrays: {name}", "arrays", case.make, case.command, says)


def _labels(name, says, damage):
    flags = ["--config.data.source=arrays", "--config.eval.label_size=-1"]
    return _scored(name, says, lambda p: damage(p / "arrays_64" / "test"), *flags, area="arrays")


def _decode(name, says, damage, size="32"):
    words = [
        "faceparse_jax.data.decode",
        "--name=synthetic_heads",
        "--config=tiny",
        f"--size={size}",
    ]
    words.append("--data_dir={folder}/data")
    return Case(f"arrays command: {name}", "arrays command", prepared(damage), words, says)


def _build(name, says, damage, *words):
    command = [BUILD, "--name=synthetic_heads", "--config=tiny", "--data_dir={folder}/data", *words]
    return Case(f"build command: {name}", "build command", prepared(damage), command, says)


def empty_version(place: pathlib.Path) -> None:
    shutil.rmtree(place)
    place.mkdir()


def _replay(name, says, record, config=None):
    def damage(run: pathlib.Path) -> None:
        (run / "non_finite.json").write_text(record)
        if config is not None:
            (run / "config.json").write_text(config)

    words = [MAIN, "--mode=replay", "--workdir={folder}/run"]
    return Case(f"replay: {name}", "replay", copied(damage), words, says)


def on_data(line: str):
    """A study of prepared data, with one more line."""
    place = "c.base.data.data_dir, c.base.data.config = __file__[:-7] + 'data', 'tiny'"

    def make(folder: pathlib.Path) -> None:
        prepared(nothing)(folder)
        own_file(STUDY.format(f"{place}; {line}"))(folder)

    return make


def in_the_way(name: str):
    """A study's file, and another file where the study would write."""

    def make(folder: pathlib.Path) -> None:
        own_file(STUDY.format(""))(folder)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")

    return make


def _locked(name, says, case, place):
    """A case without a fault, beside what a process of another host left."""

    def make(folder: pathlib.Path) -> None:
        case.make(folder)
        (folder / place).mkdir(parents=True)
        holder = {"pid": 7, "host": "elsewhere", "since": "2026-01-02 03:04:05 +0000"}
        (folder / place / "faceparse_jax.lock").write_text(json.dumps(holder))

    return Case(f"lock: {name}", "lock", make, case.command, says)


def _folder_of_lock(folder: pathlib.Path) -> None:
    prepared(nothing)(folder)
    (folder / "run" / "faceparse_jax.lock").mkdir(parents=True)


def _folder_of_scores(run: pathlib.Path) -> None:
    (run / "evaluation" / "all.jsonl").mkdir(parents=True)


PACKED: list[pathlib.Path] = []  # the run's networks in a file, when there are some


def _packed(name, says, damage, *words):
    """A copy of the packed file, damaged; an evaluation of it, where no words say otherwise."""

    def make(folder: pathlib.Path) -> None:
        shutil.copy(PACKED[0], folder / "a.safetensors")
        damage(folder)

    words = words or ("--mode=evaluate", "--out={folder}/scores")
    command = [MAIN, "--workdir={folder}/a.safetensors", *words]
    return Case(f"packed file: {name}", "packed file", make, command, says)


def packed(how):
    return change("a.safetensors", how)


def label(how):
    """A change to the text that a packed file's header has."""

    def edit(data):
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        text = header["__metadata__"]["faceparse_jax"]
        header["__metadata__"]["faceparse_jax"] = edited(how)(text)
        whole = json.dumps(header).encode()
        return len(whole).to_bytes(8, "little") + whole + data[end:]

    return packed(edit)


def _packs(name, says, make):
    """Packing of the run, with scores of the case."""
    words = [MAIN, "--mode=export", "--format=safetensors", "--workdir={run}"]
    words += ["--out={folder}/a.safetensors", "--scores={folder}/scores.json"]
    return Case(f"packed file: {name}", "packed file", make, words, says)


def _export(name, says, *words, make=nothing):
    command = ["faceparse_jax.data.synthetic.export", "--out={folder}/out", *words]
    return Case(f"export command: {name}", "export command", make, command, says)


OF_ONE = {
    "classes": ["background"], "colours": [[0, 0, 0]], "swap_pairs": [], "left_of": "viewer",
    "depth_classes": [],
}  # fmt: skip
MET = '{"step": 1, "terms": {}, "examples": []}'
CASES = [
    _data("an info of words", "Failed to load JSON", write("dataset_info.json", "words")),
    _data("an info that is a list", "version", write("dataset_info.json", "[]")),
    _data("no features", PLACE, lose("features.json")),
    _data("features of words", "Expecting value", write("features.json", "words")),
    _data("features that are a list", "class name", write("features.json", "[]")),
    _data("no metadata", "label scheme None", lose("metadata.json")),
    _data("metadata of words", "Expecting value", write("metadata.json", "words")),
    _data("depth of 12 bits", "depth_bits 12", change("metadata.json", edited(
        lambda value: value.update(depth_bits=12)))),
    _data("a count that is none", "with_depth", change("metadata.json", edited(
        lambda value: value.update(with_depth=7)))),
    _data("an unknown scheme", "label scheme 'x'", change("metadata.json", edited(
        lambda value: value.update(scheme="x")))),
    _data("an own scheme that lacks", "label scheme 'folder/x'", change("metadata.json", edited(
        lambda value: value.update(scheme="folder/x")))),
    _data("an own scheme of one class", "1 classes", change("metadata.json", edited(
        lambda value: value.update(scheme="folder/x", scheme_data=OF_ONE)))),
    _data("no validation split", "no split 'validation'", change("dataset_info.json", edited(
        lambda value: value["splits"].pop(1)))),
    _data("no records", f"no file {TRAIN}", lose(TRAIN)),
    _data("no records of validation", f"no file {VALIDATION}", lose(VALIDATION)),
    _data("records cut in half", "instead of", change(TRAIN, half)),
    _data("records without a byte", "0 bytes", write(TRAIN, b"")),
    _data("records with flipped bytes", "corrupted record", change(TRAIN, flipped)),
    _scored("records cut in half", "instead of", change(TEST, half)),
    _scored("records with flipped bytes", "corrupted record", change(TEST, flipped)),
    _scored("flipped bytes, original size", "corrupted record", change(TEST, flipped),
            "--config.eval.label_size=-1"),
    _arrays("a record of words", "Expecting value", write("split.json", "words")),
    _arrays("a record that is a list", "no JSON object", write("split.json", "[]")),
    _arrays("no ids", "no ids", change("split.json", edited(lambda v: v.pop("ids")))),
    _arrays("too few ids", "3 ids", change("split.json", edited(lambda v: v["ids"].__delitem__(
        slice(3, None))))),
    _arrays("an unknown scheme", "scheme 'x'", change("split.json", edited(
        lambda v: v["split"].update(scheme="x")))),
    _arrays("an own scheme of one class", "1 classes", change("split.json", edited(
        lambda v: v["split"].update(scheme="folder/x", scheme_data=OF_ONE)))),
    _arrays("no images", "image.npy", lose("image.npy")),
    _arrays("images cut in half", "image.npy", change("image.npy", half)),
    _arrays("images without a byte", "image.npy", write("image.npy", b"")),
    _arrays("an array of objects", "Python objects", write("image.npy", npy(
        np.array([{}]), allow_pickle=True))),
    _arrays("a pickle", "magic string", lambda place: write("image.npy", trap(place))(place)),
    _arrays("an archive of arrays", "magic string", write("image.npy", b"PK\x03\x04" + bytes(99))),
    _arrays("images of another size", "uint8 [24, 32, 32, 3]", write("image.npy", npy(
        np.zeros((24, 32, 32, 3), np.uint8)))),
    _arrays("images of fractions", "float32", write("image.npy", npy(
        np.zeros((24, 64, 64, 3), np.float32)))),
    _arrays("labels of three rows", "[3, 64, 64]", write("label.npy", npy(
        np.zeros((3, 64, 64), np.uint8)))),
    _arrays("which rows have depth, lost", "has_depth.npy", lose("has_depth.npy")),
    _labels("no ends of labels", "label_png.npy", lose("label_png.npy")),
    _labels("labels cut in half", "label_png.bin", change("label_png.bin", half)),
    _labels("no labels", "label_png.bin", lose("label_png.bin")),
    _decode("records cut in half", "instead of", change(TEST, half)),
    _decode("records with flipped bytes", "corrupted record", change(TRAIN, flipped)),
    _decode("a side of ten million", "at most 8192", nothing, "10000000"),
    _decode("a file in the way", "arrays_32", write("arrays_32", "x")),
    _build("an info of words", "remove", write("dataset_info.json", "words")),
    _build("a version without anything", "no prepared dataset", empty_version),
    _replay("a record of words", "Expecting value", "words"),
    _replay("a record that is a list", "no JSON object", "[]"),
    _replay("a record without step", "no step", "{}"),
    _replay("a step that is a word", "step = 'one'", '{"step": "one"}'),
    _replay("step 0", "a step of the run", '{"step": 0}'),
    _replay("a config of nothing", "Expecting value", MET, ""),
    _replay("a config that is a list", "no JSON object", MET, "[]"),
    _replay("a config with an unknown key", "optim.rat", MET, '{"optim": {"rat": 1}}'),
    _replay("a config with words for numbers", "many", MET, '{"train": {"steps": "many"}}'),
    _replay("a config with a number for a section", "train", MET, '{"train": 3}'),
    _checkpoint("a config that is a number", "config = '3'", meta(edited(
        lambda v: v.update(config=3)))),
    _checkpoint("words for the config's numbers", "many", meta(edited(
        lambda v: v["config"]["train"].update(steps="many")))),
    _checkpoint("networks of no width", "model.width", meta(edited(
        lambda v: v["config"]["model"].update(width=-1.0)))),
    _checkpoint("no dataset", "no dataset", meta(edited(lambda v: v.pop("dataset")))),
    _checkpoint("an unknown scheme", "label scheme 'x'", meta(edited(
        lambda v: v["dataset"].update(scheme="x")))),
    _checkpoint("an own scheme of one class", "1 classes", meta(edited(
        lambda v: v["dataset"].update(scheme="folder/x", scheme_data=OF_ONE)))),
    _checkpoint("no step", "no step", meta(edited(lambda v: v.pop("step")))),
    _checkpoint("a step that is a path", "step = '../", meta(edited(
        lambda v: v.update(step="../../best/1")))),
    _checkpoint("a step that is not there", "other or damaged", meta(edited(
        lambda v: v.update(step=99)))),
    _checkpoint("no code version", "no code_version", meta(edited(
        lambda v: v.pop("code_version")))),
    _checkpoint("a list of checksums", "no checksums", meta(edited(
        lambda v: v.update(sha256=["average"])))),
    _checkpoint("a meta without end", "recursion", meta(lambda text: "[" * 100_000)),
    _checkpoint("a meta that is a pickle", "codec", copied(
        lambda r: (step(r) / "meta" / "metadata").write_bytes(trap(r.parent)))),
    _checkpoint("a write that was never finished", "no checkpoint", copied(lambda r: (
        (step(r) / "commit_success.txt").unlink(),
        step(r).rename(step(r).with_name("1.orbax-checkpoint-tmp")))), which="last"),
    _checkpoint("a file for its folder", "no checkpoint", copied(lambda r: (
        shutil.rmtree(r / "checkpoints" / "last"), (r / "checkpoints" / "last").write_text("")))),
    _study("data that are not prepared", "tfds_builders.build", 'c.base.data.data_dir = "absent"'),
    _study("no such backbone", "backbone", "", on_data("c.base.model.backbone = 19")),
    _study("no such best route", "checkpoint.best", "",
           on_data('c.base.checkpoint.best = "ir"; c.conditions = (("", ()),)')),
    _study("arms of words", "config.arms", 'c.arms = ("full",)'),
    _study("overrides that are no pairs", "config.arms", 'c.arms += (("a", ("optim.rate",)),)'),
    _study("a seed that is a word", "config.seeds", 'c.seeds = ("x",)'),
    _study("a seed below 0", "seed", "c.seeds = (-1,)"),
    _study("no baselines", "baselines", "del c.baselines"),
    _study("no such checkpoint", "'best' or 'last'", 'c.checkpoint = "newest"'),
    _study("a score of no route", "config.scores", 'c.scores = (("ir", "f1/mean"),)'),
    _study("a base that is a word", "config.base", 'c.unlock(); del c.base; c.base = "x"'),
    _study("another type of arms", "casted", "c.arms = 3"),
    _study("a record of words", "Expecting value", "", finished("words")),
    _study("a record that is a list", "no JSON object", "", finished("[]")),
    _study("a record without config", "no config", "", finished("{}")),
    _study("a file for its folder", "a file", "", in_the_way("study")),
    _study("a file for its runs", "a file", "", in_the_way("study/runs")),
    _locked("a run of another host", "process 7 on elsewhere, which works in it since 2026-01-02",
            _data("", "", nothing), "run"),
    _locked("a study of another host", "where that process has ended",
            _study("", "", "", on_data('c.conditions = (("", ()),)')), "study"),
    Case("lock: a folder in its place", "lock", _folder_of_lock, _data("", "", nothing).command,
         "faceparse_jax.lock"),
    Case("checkpoint: a folder for all scores", "checkpoint", copied(_folder_of_scores),
         [MAIN, "--workdir={folder}/run", HEADS, "--config.data.data_dir={data}",
          "--mode=evaluate", "--config.devices=1"],
         "evaluation/all.jsonl: found Is a directory"),
    _config("steps beyond 32 bits", "train.steps", "train.steps=1000000000000000"),
    _config("a warm-up beyond 32 bits", "optim.warmup_steps", "optim.warmup_steps=4000000000"),
    _config("a shuffle beyond 32 bits", "shuffle_buffer", "data.shuffle_buffer=4000000000"),
    _line("a workdir below a file", "--workdir", "--workdir={folder}/f/run", HEADS,
          make=files(f="x")),
    _line("a config that is a dict", "--config", "--workdir={folder}/run",
          "--config={folder}/mine.py", make=own_file("def get_config():\n    return {}\n")),
    _line("a study to evaluate with", "a study", "--workdir={run}", "--mode=evaluate",
          "--config=configs/studies/synthetic.py"),
    _predict("a pipe", "plain file", "--image={folder}/a.png",
             make=lambda f: os.mkfifo(f / "a.png")),
    _predict("a device", "plain file", "--image=/dev/zero"),
    _predict("a name that is too long", "name too long", "--image={folder}/" + "a" * 300),
    _predict("a drawing", "foreign", "--image={folder}/a.png", make=files(a_png="<svg/>")),
    _predict("a program", "foreign", "--image={folder}/a.png",
             make=files(a_png="%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")),
    _predict("a record of predictions without any", "predictions.json", "--image={folder}/a.png",
             make=files(a_png=PHOTO, out__predictions_json='{"written_by": "faceparse_jax"}')),
    _predict("a name that is too long for its results", "at most 229 bytes", "--image={folder}/in",
             make=files(**{f"in__{'a' * 240}_png": PHOTO})),
    _locked("a prediction of another host", "choose another --out",
            _predict("", "", "--image={folder}/a.png", make=files(a_png=PHOTO)), "out"),
    _packed("cut in half", "damaged tensors", packed(half)),
    _packed("without a byte", "no label", packed(lambda data: b"")),
    _packed("of words", "no label", packed(lambda data: b"words, more than eight of them")),
    _packed("that is a pickle", "no label", lambda place: write(
        "a.safetensors", trap(place))(place)),
    _packed("of others", "no label", packed(lambda data: b"\x02" + bytes(7) + b"{}")),
    _packed("with flipped bytes", "other values than were written", packed(flipped)),
    _packed("of a later format", "version 2 of the format", label(lambda v: v.update(format=2))),
    _packed("without a seed", "without seed", label(lambda v: v["meta"].pop("seed"))),
    _packed("with another step", "other values", label(lambda v: v["meta"].update(step=9))),
    _packed("that is a folder", "Is a directory", lambda place: (
        lose("a.safetensors")(place), (place / "a.safetensors").mkdir())),
    _packed("that is lost", "No such file", lose("a.safetensors")),
    _packed("of another checkpoint", "of the best checkpoint alone", nothing, "--mode=evaluate",
            "--out={folder}/scores", "--checkpoint=last"),
    _packed("whose scores have no place", "--out: found nothing", nothing, "--mode=evaluate"),
    _packed("cut, to predict with", "damaged tensors", packed(half), "--mode=predict",
            "--image=x.png", "--out={folder}/out"),
    _packs("no such scores", "scores.json", nothing),
    _packs("scores of words", "Expecting value", files(scores_json="words")),
    _packs("scores of other networks", "scores of other networks", files(
        scores_json='{"provenance": {"step": 7}, "routes": {}}')),
    _packs("scores of nothing", "'scored_on'", files(
        scores_json='{"provenance": {}, "routes": {}}')),
    _packs("a file in the way", "a.safetensors: found another file", files(a_safetensors="x")),
    _packs("a card in the way", "a.md: found another file", files(a_md="# Mine")),
    _export("no heads", "at least one head", "--count=0", "--sheet"),
    _export("a side of 0", "64 to 512", "--size=0"),
    _export("a file in the way", "--out", make=files(out="x")),
]  # fmt: skip
