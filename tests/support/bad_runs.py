"""Bad configs, checkpoints, studies and predictions."""

import json
import pathlib
import pickle
import shutil

import numpy as np

from tests.support.bad_input import BUILD, MAIN, Case, nothing
from tests.support.dummy_archives import encode
from tests.support.files import huge_png, npy

HEADS = "--config=configs/synthetic_heads.py"
PHOTO = encode(np.zeros((40, 50, 3), np.uint8))
METRES = np.linspace(0.5, 0.7, 40 * 50, dtype=np.float32).reshape(40, 50)
RELIEF = (500 * (METRES - 0.4)).astype(np.uint8)
HEIF = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
DEPTH = encode(np.full((40, 50), 90, np.uint8))


def _config(name, says, *flags, config=HEADS, make=nothing):
    words = [MAIN, "--workdir={folder}/run", config, "--config.data.data_dir={data}"]
    words += ["--config.data.config=tiny", *(f"--config.{flag}" for flag in flags)]
    return Case(f"config: {name}", "config", make, words, says)


def _rendered(name, says, *flags):
    own = ("data.source=rendered", "data.config=rendered", "data.size=128")
    return _config(name, says, *own, *flags)


def _line(name, says, *words, make=nothing):
    return Case(f"command line: {name}", "command line", make, [MAIN, *words], says)


def own_file(text: str):
    return lambda folder: (folder / "mine.py").write_text(text)


def _own(name, says, text):
    return _config(name, says, config="--config={folder}/mine.py", make=own_file(text))


def files(**contents):
    """Files of a folder: `__` stands for a slash, `_` for a dot, `~` for `_`."""

    def make(folder: pathlib.Path) -> None:
        for name, data in contents.items():
            path = folder / name.replace("__", "/").replace("_", ".").replace("~", "_")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.encode() if isinstance(data, str) else data)

    return make


def _predict(name, says, *words, make=nothing):
    words = [MAIN, "--mode=predict", "--workdir={run}", "--out={folder}/out", *words]
    return Case(f"prediction: {name}", "prediction", make, words, says)


def _exports(name, says, *words, out="a.onnx", make=nothing):
    words = [MAIN, "--mode=export", "--workdir={run}", f"--out={{folder}}/{out}", *words]
    return Case(f"export: {name}", "export", make, words, says)


def _bucket(name, says, *command, make=nothing):
    return Case(f"bucket: {name}", "bucket", make, command, says)


STUDY = """
from faceparse_jax.configs.studies import arms, synthetic

def get_config():
    c = synthetic.get_config()
    {}
    return c
"""


def _study(name, says, line, make=None):
    text = STUDY.format(line)
    words = [MAIN, "--mode=study", "--config={folder}/mine.py", "--workdir={folder}/study"]
    return Case(f"study: {name}", "study", make or own_file(text), words, says)


def finished(record: str):
    """A study of which one run is finished, by its record."""

    def make(folder: pathlib.Path) -> None:
        conditions = "c.conditions = arms.depth_fractions(0.05)"
        own_file(STUDY.format(f"c.seeds = (0,); {conditions}"))(folder)
        run = folder / "study" / "runs" / "depth_alone" / "5_depth" / "seed_0"
        run.mkdir(parents=True)
        (run / "record.json").write_text(record)

    return make


ANOTHER_CONFIG = finished(json.dumps({"config": {"seed": 7}, "scores": {}}))


def _checkpoint(name, says, damage, which="last", mode="evaluate"):
    """A copy of the trained run, damaged."""
    words = [MAIN, f"--mode={mode}", f"--checkpoint={which}", "--workdir={folder}/run"]
    return Case(f"checkpoint: {name}", "checkpoint", damage, words, says)


RUN: list[pathlib.Path] = []  # the trained run, when there is one


def copied(damage):
    def make(folder: pathlib.Path) -> None:
        shutil.copytree(RUN[0], folder / "run")
        damage(folder / "run")

    return make


def step(run: pathlib.Path) -> pathlib.Path:
    return max((run / "checkpoints" / "last").glob("[0-9]*"), key=lambda path: int(path.name))


def meta(change):
    def damage(run: pathlib.Path) -> None:
        path = step(run) / "meta" / "metadata"
        path.write_text(change(path.read_text()))

    return copied(damage)


class Trap:
    """Unpickling it leaves a file."""

    def __init__(self, path: pathlib.Path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


def pickles(run: pathlib.Path) -> None:
    """Every file of the checkpoint is a pickle that leaves a file when it is loaded."""
    for path in [path for path in step(run).rglob("*") if path.is_file()]:
        if path.parent.name != "meta":
            path.write_bytes(pickle.dumps(Trap(run.parent / "trapped")))


def renamed(text: str) -> str:
    found = json.loads(text)
    found["config"]["model"]["depth_of_backbone"] = 18
    return json.dumps(found)


def wider(text: str) -> str:
    found = json.loads(text)
    found["config"]["model"]["width"] = 0.25
    return json.dumps(found)


CASES = [
    _config("an unknown key", "rat", "optim.rat=1"),
    _config("an unknown section", "optimiser", "optimiser.rate=1"),
    _config("a word for a number", "many", "train.steps=many"),
    _config("a fraction for a count", "1.5", "train.steps=1.5"),
    _config("a word for a switch", "gpu", "data.cache=gpu"),
    _config("no such dataset", "ffhq", "data.name=ffhq"),
    _config("no such config of the dataset", "farl", "data.config=farl"),
    _config("data that are not prepared", "tfds_builders.build", "data.data_dir={folder}"),
    _config("data that were moved", "or, where it lies elsewhere, --config.data.data_dir=FOLDER",
            "data.data_dir=moved"),
    _config("no such source", "source", "data.source=webdataset"),
    _config("arrays that are not written", "faceparse_jax.data.decode", "data.source=arrays"),
    _config("rendered heads by another name", "set --config.data.name=synthetic_heads",
            "data.source=rendered"),
    _rendered("a size in which no heads are rendered", "config.data.size: found 1024",
              "data.size=1024"),
    _rendered("a side that the renderer cannot divide", "divisible by 4", "data.size=130"),
    _rendered("a pool that does not fit the memory", "found 152.6 GiB at 128 px, expected at most",
              "data.heads=2000000"),
    _rendered("a pool that does not fill a batch", "4, fewer than the 8 rows", "data.heads=4"),
    _rendered("heads that are reused and not kept", "a pool of heads, or 0", "data.reuse=2"),
    _rendered("scarce depth of heads without end", "config.data.depth_fraction: found heads that",
              "data.heads=100", "data.reuse=2", "data.depth_fraction=0.5"),
    _rendered("paired rows of heads without end", "config.data.paired_rows: found heads that come",
              "data.paired_rows=8"),
    _config("a pool of prepared heads", "with source 'tfds', which renders", "data.heads=100"),
    _config("validation on several datasets", "one dataset as NAME/CONFIG",
            "eval.validation=lapa_d/official,helen_d/smith"),
    _config("validation on a dataset without config", "for example lapa_d/official",
            "eval.validation=lapa_d"),
    _config("validation on data that are not prepared", "tfds_builders.build --name lapa_d",
            "eval.validation=lapa_d/official"),
    _config("a batch of none", "train.batch", "train.batch=0"),
    _config("a batch of one", "config.train.batch: found 1 row", "train.batch=1", "devices=1"),
    _config("one paired row", "config.data.paired_rows: found 1 row", "data.paired_rows=1",
            "devices=1"),
    _config("a crop without a patch", "the discriminator sees no patch", "augment.crop=20",
            "loss.adversarial=0.1"),
    _config("a batch that devices cannot share", "train.batch", "train.batch=5", "devices=2"),
    _config("more devices than there are", "devices", "devices=99"),
    _config("fewer than no devices", "devices", "devices=-1"),
    _config("a rate that is no number", "optim.rate", "optim.rate=nan"),
    _config("a warm-up from nothing", "optim.warmup_rate", "optim.warmup_rate=0"),
    _config("a rate without end", "optim.rate", "optim.rate=inf"),
    _config("a negative weight", "loss.rgb", "loss.rgb=-1"),
    _config("no weight at all", "every weight", *(f"loss.{t}=0" for t in
            ("rgb", "depth", "e2e", "mutual", "translation"))),
    _config("a schedule that goes back", "loss.e2e", "loss.e2e=((5,1.0),(2,0.0))"),
    _config("a schedule of words", "loss.e2e", "loss.e2e='falling'"),
    _config("a schedule of one form more", "loss.e2e", "loss.e2e={{0:1.0}}"),
    _config("an average that never moves", "train.ema", "train.ema=1"),
    _config("no steps", "train.steps", "train.steps=0"),
    _config("a log that is never written", "log.every", "log.every=0"),
    _config("checkpoints that are never kept", "checkpoint.keep", "checkpoint.keep=0"),
    _config("an evaluation each no steps", "eval.every", "eval.every=0"),
    _config("a label of side -2", "eval.label_size", "eval.label_size=-2"),
    _config("no scales", "augment.scales", "augment.scales=()"),
    _config("a scale of 0", "augment.scales", "augment.scales=(0.0,)"),
    _config("a crop that the U-Net cannot halve", "crop", "augment.crop=97"),
    _config("a crop larger than the picture", "set --config.augment.crop=64", "data.size=64"),
    _config("a side of 8", "data.size", "data.size=8"),
    _config("a width of 0", "model.width", "model.width=0"),
    _config("a backbone that is not there", "backbone", "model.backbone=19"),
    _config("two channels of depth", "depth_channels", "model.depth_channels=2"),
    _config("half precision of the wrong kind", "dtype", "model.dtype=float16"),
    _config("statistics that are neither", "depth_statistics", "model.depth_statistics=both"),
    _config("an unknown mean", "mutual_mean", "loss.mutual_mean=faces"),
    _config("an unknown mean over labels", "pixels", "loss.segmentation_mean=faces"),
    _config("a key that is gone", "mutual_kind", "loss.mutual_kind=l2"),
    _config("an unknown student", "mutual_students", "loss.mutual_students=translator"),
    _config("a choice of examples below 0", "fraction_seed", "data.fraction_seed=-1"),
    _config("an unknown optimiser", "optim.kind", "optim.kind=lion"),
    _config("an unknown schedule", "optim.schedule", "optim.schedule=step"),
    _config("a best score of a route that is not there", "checkpoint.best", "checkpoint.best=ir"),
    _config("depth of too many", "depth_fraction", "data.depth_fraction=1.5"),
    _config("labels of none", "label_fraction", "data.label_fraction=1e-9"),
    _config("rows with depth and no depth", "depth_share", "data.depth_fraction=0",
            "data.depth_share=0.5"),
    _config("paired rows below 0", "paired_rows", "data.paired_rows=-4"),
    _config("paired rows that devices cannot share", "paired_rows", "data.paired_rows=3",
            "devices=2"),
    _config("paired rows and no depth", "paired_rows", "data.paired_rows=4",
            "data.depth_fraction=0"),
    _config("paired rows that teach nothing", "paired_rows", "data.paired_rows=4", "loss.depth=0",
            "loss.translation=0"),
    _config("paired rows and no translator", "no translator", "data.paired_rows=4", "loss.e2e=0",
            "loss.translation=0"),
    _config("a frozen translator with a loss", "translator_from", "train.translator_from=x"),
    _config("a translator of no run", "no checkpoint", "train.translator_from={folder}",
            "loss.translation=0"),
    _config("networks of no file", "absent.safetensors: found No such file",
            "model.init={folder}/absent.safetensors"),
    _config("networks of no run", "no checkpoint", "model.init={folder}"),
    _config("networks of another width", "set --config.model.width=0.125", "model.init={run}"),
    _config("networks that nothing needs", "no network but rgb", "model.init={run}", "loss.rgb=0",
            "loss.mutual=0"),
    _config("a workdir that is a file", "run", make=files(run="x")),
    _config("no such file", "absent", config="--config={folder}/absent.py"),
    _config("no such name", "one of the package's: base, ", config="--config=synthetic_head"),
    _own("a file that takes the package's configs from elsewhere",
         "from faceparse_jax.configs", "from configs import absent\n"),
    _own("a file with a slip", "mine.py", "def get_config(:\n"),
    _own("a file that fails", "absent_module", "import absent_module\n"),
    _own("a file without a config", "get_config", "x = 1\n"),
    _own("a file with another config", "every key of faceparse_jax/config.py",
         "from ml_collections import ConfigDict\n"
         "def get_config():\n    return ConfigDict({'data': {'data_dir': '', 'config': ''}})\n"),
    _line("nothing", "--workdir"),
    _line("no config", "--config", "--workdir={folder}/run"),
    _line("stray words", "stray", "--workdir={folder}/run", HEADS, "please"),
    _line("an unknown flag", "quick", "--workdir={folder}/run", HEADS, "--quick"),
    _line("an unknown mode", "tune", "--workdir={folder}/run", HEADS, "--mode=tune"),
    _line("a study without its mode", "--mode study", "--workdir={folder}/run",
          "--config=configs/studies/synthetic.py"),
    _line("a run with a study's mode", "a study", "--workdir={folder}/run", HEADS, "--mode=study"),
    _line("nothing to replay", "nothing to replay", "--workdir={run}", "--mode=replay"),
    _line("no run to evaluate", "no checkpoint", "--workdir={folder}/run", "--mode=evaluate"),
    _line("no run to pack", "no checkpoint", "--workdir={folder}/run", "--mode=export",
          "--format=safetensors", "--out={folder}/a.safetensors"),
    _line("a name that no packed file has", "add --out a.safetensors", "--workdir={run}",
          "--mode=export", "--format=safetensors", "--out={folder}/a"),
    _line("packed networks to train in", "a file", "--workdir={folder}/a.safetensors", HEADS,
          make=files(a_safetensors="x")),
    _line("no photograph behind its flag", "--image: found nothing", "--workdir={run}",
          "--mode=predict", "--image", "--out={folder}/out"),
    _line("nowhere to predict to", "--out", "--workdir={run}", "--mode=predict", "--image=x.png"),
    _line("a checkpoint for a study", "leave --checkpoint out", "--workdir={folder}/run",
          "--mode=study", "--config=configs/studies/synthetic.py", "--checkpoint=best"),
    _line("a config for a prediction", "leave --config out", "--workdir={run}", HEADS,
          "--mode=predict", "--image=x.png", "--out={folder}/out", "--config.eval.flip=True"),
    _line("a photograph for training", "leave --image out", "--workdir={folder}/run", HEADS,
          "--image=x.png"),
    _line("a name too long", "too long", f"--workdir={{folder}}/{'a' * 300}", HEADS),
    _line("a config without eval to evaluate with", "every key of faceparse_jax/config.py",
          "--workdir={run}", "--mode=evaluate", "--config={folder}/mine.py",
          make=own_file("from ml_collections import ConfigDict\n\n\n"
                        "def get_config():\n    return ConfigDict({'seed': 1})\n")),
    _line("half a cluster", "--process", "--workdir={folder}/run", HEADS, "--processes=2"),
    _line("an unknown split", "dev", "--workdir={run}", "--mode=evaluate", HEADS,
          "--config.eval.split=dev", "--config.data.data_dir={data}"),
    _line("a dataset without config", "name/config", "--workdir={run}", "--mode=evaluate", HEADS,
          "--config.eval.dataset=lapa_d", "--config.data.data_dir={data}"),
    _line("the heads that a run trains on", "'validation' or 'test'", "--workdir={run}", HEADS,
          "--mode=evaluate", "--config.eval.dataset=synthetic_heads/rendered",
          "--config.eval.split=train", "--config.data.data_dir={data}"),
    _line("a dataset that is not prepared", "tfds_builders.build", "--workdir={run}", HEADS,
          "--mode=evaluate", "--config.eval.dataset=lapa_d/*", "--config.data.data_dir={data}"),
    _study("two arms of one name", "twice", "c.arms = (arms.FULL, arms.FULL)"),
    _study("names that are one folder", "a_b twice", "c.arms = (('a b', ()), ('a-b', ()))"),
    _study("no arms", "config.arms", "c.arms = ()"),
    _study("no seeds", "config.seeds", "c.seeds = ()"),
    _study("an unknown key", "optim.rat", "c.arms += (('a', (('optim.rat', 1.0),)),)"),
    _study("a value of no such type", "train.steps", "c.arms += (('a', (('train.steps', 'x'),)),)"),
    _study("a value out of range", "arm 'a', config.loss.rgb",
           "c.arms += (('a', (('loss.rgb', -1.0),)),)"),
    _study("a base out of range", "base, config.train.steps", "c.base.train.steps = 0"),
    _study("a baseline that is no arm", "depth alone", "c.arms = (arms.RGB_ALONE,)"),
    _study("a translator of no arm", "elsewhere", "c.arms += (('a', (('train.translator_from', "
           "'arm:elsewhere'),)),)"),
    _study("a finished run of another config", "seed=7", "", ANOTHER_CONFIG),
    _checkpoint("none", "no checkpoint", copied(lambda r: shutil.rmtree(r / "checkpoints"))),
    _checkpoint("without the average", "average",
                copied(lambda r: shutil.rmtree(step(r) / "average"))),
    _checkpoint("pickles", "damaged tensors", copied(pickles)),
    _checkpoint("a meta of words", "meta", meta(lambda text: "words")),
    _checkpoint("a meta that is a list", "no JSON object", meta(lambda text: "[]")),
    _checkpoint("a meta cut in half", "meta", meta(lambda text: text[: len(text) // 2])),
    _checkpoint("a meta with an unknown key", "depth_of_backbone", meta(renamed)),
    _checkpoint("other networks", "other or damaged", meta(wider)),
    _checkpoint("for a prediction without input", "--image", copied(lambda r: None),
                mode="predict"),
    _predict("no such photograph", "nothing", "--image={folder}/a.png"),
    _predict("words for a photograph", "foreign", "--image={folder}/a.png", make=files(a_png="x")),
    _predict("a photograph cut in half", "truncated", "--image={folder}/a.png",
             make=files(a_png=PHOTO[:60])),
    _predict("ten billion pixels", "pixels", "--image={folder}/a.png",
             make=files(a_png=huge_png())),
    _predict("an empty folder", "no such file", "--image={folder}/in",
             make=lambda f: (f / "in").mkdir()),
    _predict("two photographs of one stem", "one file for 'a'", "--image={folder}/in",
             make=files(in__a_png=PHOTO, in__a_ppm=PHOTO)),
    _predict("several photographs, of which one is not there", "b.png: found nothing", "--image",
             "{folder}/a.png", "{folder}/b.png", make=files(a_png=PHOTO)),
    _predict("two folders with a photograph of one stem", "one file for 'a'", "--image",
             "{folder}/in", "{folder}/more", make=files(in__a_png=PHOTO, more__a_png=PHOTO)),
    _predict("uncertainty of one parser", "--uncertainty: found an input (image) for which one",
             "--image={folder}/a.png", "--uncertainty", make=files(a_png=PHOTO)),
    _predict("someone's file where uncertainty goes", "a_uncertainty.png",
             "--image={folder}/a.png",
             make=files(a_png=PHOTO, **{"out__a~uncertainty_png": PHOTO})),
    _predict("depth without its photograph", "without an image", "--image={folder}/in",
             "--depth={folder}/depth", make=files(in__a_png=PHOTO, depth__b_png=DEPTH)),
    _predict("a file and a folder", "a file and a folder", "--image={folder}/in/a.png",
             "--depth={folder}/depth", make=files(in__a_png=PHOTO, depth__a_png=DEPTH)),
    _predict("depth in colours", "differ", "--image={folder}/p.png", "--depth={folder}/a.png",
             make=files(p_png=PHOTO, a_png=encode(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)))),
    _predict("floats for depth", "--depth_kind=metric", "--image={folder}/p.png",
             "--depth={folder}/a.npy", make=files(p_png=PHOTO, a_npy=npy(METRES))),
    _predict("depth in millimetres", "--depth_kind=metric", "--image={folder}/p.png",
             "--depth={folder}/a.npy",
             make=files(p_png=PHOTO, a_npy=npy((1000 * METRES).astype(np.uint16)))),
    _predict("one distance everywhere", "some relief", "--image={folder}/p.png",
             "--depth={folder}/a.npy", "--depth_kind=metric",
             make=files(p_png=PHOTO, a_npy=npy(np.ones((40, 50), np.float32)))),
    _predict("255 for no depth", "--depth_missing=255", "--image={folder}/p.png",
             "--depth={folder}/a.png",
             make=files(p_png=PHOTO, a_png=encode(np.pad(RELIEF[5:-5, 5:-5], 5,
                                                         constant_values=255)))),
    _predict("one value of depth", "the value 90", "--image={folder}/p.png",
             "--depth={folder}/a.png", make=files(p_png=PHOTO, a_png=DEPTH)),
    _predict("a word for a missing depth", "depth_missing", "--image={folder}/p.png",
             "--depth={folder}/a.png", "--depth_missing=none",
             make=files(p_png=PHOTO, a_png=DEPTH)),
    _predict("half of an OpenEXR file", "OpenEXR", "--image={folder}/p.png",
             "--depth={folder}/a.exr",
             make=files(p_png=PHOTO, a_exr=b"\x76\x2f\x31\x01" + bytes(20))),
    _predict("two broken photographs, strictly", "2 of 3 inputs", "--image={folder}/in",
             "--strict", make=files(in__a_png=PHOTO, in__b_png="x", in__c_png=PHOTO[:60])),
    _predict("an output that the networks have not", "depth", "--image={folder}/a.png",
             "--output=depth", make=files(a_png=PHOTO)),
    _predict("a file in the way", "a file", "--image={folder}/a.png",
             make=files(a_png=PHOTO, out="x")),
    _predict("someone's file in the way", "a_label.png", "--image={folder}/a.png",
             make=files(a_png=PHOTO, **{"out__a~label_png": PHOTO})),
    _exports("no format", "add --format stablehlo"),
    _exports("an unknown format", "<safetensors|stablehlo|onnx|tflite>", "--format=coreml"),
    _exports("a name of another format", "add --out a.tflite.onnx", "--format=onnx",
             out="a.tflite"),
    _exports("a file in the way", "a.onnx: found another file", "--format=onnx",
             make=files(a_onnx="x")),
    _exports("a record in the way", "a.onnx.json: found another file", "--format=onnx",
             make=files(a_onnx_json="{}")),
    _exports("a card in the way", "a.onnx.md: found another file", "--format=onnx",
             make=files(a_onnx_md="# Mine")),
    _exports("a folder in the way", "a.onnx: found another file", "--format=onnx",
             make=lambda f: (f / "a.onnx").mkdir()),
    _exports("StableHLO for phones", "add --format tflite", "--format=stablehlo", "--phone",
             out="a.stablehlo"),
    _exports("a route for all networks", "leave --output out", "--format=safetensors",
             "--output=rgb", out="a.safetensors"),
    _exports("depth without its parser", "what output of any kind of these networks (rgb) needs",
             "--format=stablehlo", "--input=depth", out="a.stablehlo"),
    _exports("a route that the networks have not", "ask for rgb", "--format=stablehlo",
             "--output=fusion", out="a.stablehlo"),
    _exports("no such scores", "scores.json", "--format=stablehlo",
             "--scores={folder}/scores.json", out="a.stablehlo"),
    _bucket("a program onto it", "gcloud storage cp", MAIN, "--mode=export", "--workdir={run}",
            "--format=onnx", "--out=gs://faces/a.onnx"),
    _predict("results among the inputs", "the folder of the inputs", "--image={folder}",
             make=files(a_png=PHOTO, out__sea__b_png=PHOTO)),
    _predict("a file where a folder of results goes", "out/sea, which is no folder",
             "--image={folder}/in", make=files(in__sea__a_png=PHOTO, out__sea="x")),
    _predict("two photographs of one stem further down", "one file for 'sea/a'",
             "--image={folder}/in", make=files(in__sea__a_png=PHOTO, in__sea__a_ppm=PHOTO)),
    _predict("depth in another folder than its photograph", "a.png without an image",
             "--image={folder}/in", "--depth={folder}/depth",
             make=files(in__sea__a_png=PHOTO, depth__a_png=DEPTH)),
    _predict("a broken photograph further down, strictly", "1 of 2 inputs", "--image={folder}/in",
             "--strict", make=files(in__a_png=PHOTO, in__sea__b_png=PHOTO[:60])),
    _predict("half of a phone's photograph", "a.heic", "--image={folder}/a.heic",
             make=files(a_heic=HEIF)),
    _predict("a folder of half phone's photographs", "a.heic", "--image={folder}/in",
             make=files(in__sea__a_heic=HEIF)),
    _predict("half of a photograph in AVIF", "a.avif", "--image={folder}/a.avif",
             make=files(a_avif=HEIF.replace(b"heic", b"avif"))),
    _predict("no such scheme", "one of celebamask_hq", "--image={folder}/a.png", "--scheme=lappa",
             make=files(a_png=PHOTO)),
    _predict("words for a video", "a.mp4", "--image={folder}/a.mp4", make=files(a_mp4="x")),
    _predict("a folder of videos", "must name one by one", "--image={folder}/in",
             make=files(in__a_mp4="x")),
    _predict("depth beside a video", "leave --depth out", "--image={folder}/a.mp4",
             "--depth={folder}/a.png", make=files(a_mp4="x", a_png=DEPTH)),
    _predict("probabilities of a video", "--probabilities: found a video",
             "--image={folder}/a.mp4", "--probabilities", make=files(a_mp4="x")),
    _predict("uncertainty of a video", "--uncertainty: found",
             "--image={folder}/a.mp4", "--uncertainty", make=files(a_mp4="x")),
    _predict("someone's table where that of a video goes", "a_areas.csv", "--image={folder}/a.mp4",
             make=files(a_mp4="x", **{"out__a~areas_csv": "1,2"})),
    _predict("a photograph and a video of one stem", "one file for 'a'", "--image",
             "{folder}/a.png", "{folder}/a.mp4", make=files(a_png=PHOTO, a_mp4="x")),
    _bucket("no folder of it", "gs://BUCKET/FOLDER", MAIN, "--workdir=gs://faces", HEADS),
    _bucket("its name alone missing", "gs://BUCKET/FOLDER", MAIN, "--workdir=gs://", HEADS),
    _bucket("decoded arrays of it", "gcloud storage cp", MAIN, "--workdir={folder}/run", HEADS,
            "--config.data.source=arrays", "--config.data.data_dir=gs://faces/prepared"),
    _bucket("arrays decoded onto it", "gcloud storage cp", "faceparse_jax.data.decode", "--name=a",
            "--config=b", "--size=64", "--data_dir=gs://faces/prepared"),
    _bucket("archives on it", "gcloud storage cp", BUILD, "--name=lapa_d",
            "--manual_dir=gs://faces/archives", "--data_dir={folder}/prepared"),
    _bucket("photographs on it", "gcloud storage cp", MAIN, "--mode=predict", "--workdir={run}",
            "--image=gs://faces/photos", "--out={folder}/out"),
    _bucket("predictions onto it", "gcloud storage cp", MAIN, "--mode=predict", "--workdir={run}",
            "--image={folder}/a.png", "--out=gs://faces/out", make=files(a_png=PHOTO)),
    _bucket("synthetic heads onto it", "gcloud storage cp", "faceparse_jax.data.synthetic.export",
            "--out=gs://faces/heads"),
]  # fmt: skip
