"""Every key of a run's config: its default, its range or choices, and one sentence.

This file is the one truth for them. `default` gives the config that the files in ``configs/``
start from, `parse` turns such a config into frozen typed values or says what is wrong with it,
and docs/configuration.md is what this prints:

    python -m faceparse_jax.config > docs/configuration.md
"""

import itertools
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
import ml_collections
import pydantic
from ml_collections import config_dict
from pydantic import Field

from faceparse_jax.errors import InputError
from faceparse_jax.runtime import interrupts
from faceparse_jax.runtime.places import on_bucket

_MOST = 2**31 - 1  # steps are counted in 32 bits on the device

Count = Annotated[int, Field(ge=1, le=_MOST)]
Steps = Annotated[int, Field(ge=0, le=_MOST)]
Side = Annotated[int, Field(ge=16, le=8192)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]


def _whole(folder: str) -> str:
    """A folder that is the same wherever the next command is given; ``~`` stays for the reader."""
    return folder if folder.startswith("~") or on_bucket(folder) else os.path.abspath(folder)


Folder = Annotated[str, pydantic.AfterValidator(_whole)]

HEADS = "heads"
"""The name of the networks that ship with the package."""


def _whole_unless_named(networks: str) -> str:
    return networks if networks in ("", HEADS) else _whole(networks)


Networks = Annotated[str, pydantic.AfterValidator(_whole_unless_named)]


def _ordered(points: tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
    steps = [step for step, _ in points]
    if not points or any(a >= b for a, b in itertools.pairwise(steps)):
        raise ValueError("the steps of a schedule grow from point to point")
    return points


# JSON has lists for tuples.
_Listed = pydantic.BeforeValidator(lambda value: tuple(value) if type(value) is list else value)
_Point = Annotated[tuple[Steps, Rate], _Listed]
Points = Annotated[tuple[_Point, ...], pydantic.AfterValidator(_ordered), _Listed]
Weight = Rate | Points
"""A number, or points (step, number) of a schedule that is linear between them."""


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class Data(_Section):
    """The examples, and how a batch is drawn from them."""

    name: str = "celebamask_hq_d"
    """The builder in tfds_builders."""
    config: str = "official"
    """The builder's config; for CelebAMask-HQ it is the merge order."""
    data_dir: Folder = "~/tensorflow_datasets"
    """The folder that tfds_builders.build wrote to; a relative one is meant from the folder where
    the command is given, and kept as a whole path."""
    source: Literal["tfds", "arrays", "rendered"] = "tfds"
    """What is read: the prepared TFDS files, the decoded arrays of faceparse_jax.data.decode,
    which need no TensorFlow, or heads that are rendered while the run trains, which need no
    files."""
    size: Side = 512
    """The side of the square that pictures are fitted into."""
    shuffle_buffer: Count = 2048
    """Undecoded examples that are held for shuffling; of source tfds."""
    cache: bool = False
    """Whether the decoded split stays in memory; of source tfds."""
    heads: Steps = 0
    """How many rendered heads are kept in memory as a pool that batches are drawn from; 0 makes
    every row of every step a new head; of source rendered."""
    reuse: Steps = 0
    """For how many epochs of the pool a rendered head stays before a new one takes its place; 0
    keeps it for good."""
    depth_fraction: Share = 1.0
    """The share of the training examples that keep their depth; it is chosen by a hash of the
    id, so that 1 % lies inside 5 %."""
    label_fraction: Share = 1.0
    """The share of the training examples that keep their label, likewise."""
    fraction_seed: Steps = 0
    """Another seed chooses other examples."""
    depth_share: Share = 0.0
    """The share of a batch's rows that are drawn from examples with depth."""
    label_share: Share = 0.0
    """The share of a batch's rows that are drawn from examples with a label."""
    paired_rows: Steps = 0
    """The rows of a second batch, drawn from examples with depth, which teaches the depth
    parser on real depth and the translator, and nothing else."""


class Augment(_Section):
    """What is drawn at random for each training example, on the device."""

    crop: Side = 448
    """The side of the training crop in pixels."""
    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1), _Listed] = (
        0.75,
        1.0,
        1.25,
        1.5,
        1.75,
        2.0,
    )
    """The factors of the random scale."""
    flip: Share = 0.5
    """The probability of mirroring."""
    rotate: Annotated[float, Field(ge=0, le=180)] = 10.0
    """The largest angle to either side, in degrees."""
    jitter: Decay = 0.5
    """Brightness, contrast and saturation are scaled by 1 -+ at most this."""


class Model(_Section):
    """The networks."""

    backbone: Literal[18, 34, 50] = 18
    """The depth of the parsers' ResNet."""
    width: Annotated[float, Field(gt=0)] = 1.0
    """A factor on the parsers' channels."""
    depth_channels: Literal[3, 1] = 3
    """Depth enters its parser as so many equal channels."""
    depth_statistics: Literal["shared", "split"] = "shared"
    """Whether real and translated depth share the depth parser's batch statistics."""
    translator_features: Count = 64
    """The channels of the U-Net's first level."""
    translator_dropout: Decay = 0.0
    """The dropout rate in the U-Net's innermost levels."""
    discriminator_features: Count = 64
    """The channels of its first layer."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The type of the computation; parameters stay float32."""
    init: Networks = ""
    """The networks that the training begins with: heads for those that ship with the package,
    a packed file, or a workdir for its best checkpoint; all begin anew where empty. A backbone
    that --mode import wrote gives the parsers their trunks alone."""


class Loss(_Section):
    """The terms of the loss; a term of weight 0 is not computed, and its networks are not made.

    A weight is a number, or a schedule in points (step, number) that is linear between them.
    """

    rgb: Weight = 1.0
    """The RGB parser learns labels from photographs."""
    depth: Weight = 1.0
    """The depth parser learns labels from real depth."""
    e2e: Weight = 1.0
    """The depth parser learns labels from translated depth, end to end: the gradient reaches
    the translator."""
    mutual: Weight = 0.1
    """Each parser learns from the other (KL, both ways)."""
    translation: Weight = 10.0
    """The translator learns real depth by L1, on depth in [-1, 1]."""
    adversarial: Weight = 0.0
    """The translator learns to deceive a discriminator, which learns too."""
    mutual_mean: Literal["classes", "pixels"] = "classes"
    """Mutual learning is averaged over the teacher's classes alike, or over pixels."""
    mutual_students: Literal["both", "rgb", "depth"] = "both"
    """The parsers that learn by the mutual term."""
    segmentation_mean: Literal["pixels", "classes"] = "pixels"
    """Learning from labels is averaged over pixels, or over the classes alike."""
    auxiliary: Rate = 1.0
    """The weight of each of the two auxiliary heads."""
    ohem_threshold: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Pixels whose class has a lower probability than this are hard."""
    ohem_min_fraction: Share = 1 / 16
    """At least this share of the pixels counts, the hardest first."""

    def weights(self) -> dict[str, float | tuple[tuple[int, float], ...]]:
        """The terms that are in use, with their weights."""
        found = {term: getattr(self, term) for term in TERMS}
        return {
            term: weight
            for term, weight in found.items()
            if (any(value for _, value in weight) if isinstance(weight, tuple) else weight)
        }


TERMS = ("rgb", "depth", "e2e", "mutual", "translation", "adversarial")
"""The terms of the loss, in the order of the log."""


class Optim(_Section):
    """The optimisers."""

    kind: Literal["sgd", "adamw"] = "sgd"
    """The optimiser of the parsers."""
    rate: Rate = 1e-2
    """The parsers' peak learning rate."""
    momentum: Decay = 0.9
    """The momentum of sgd."""
    weight_decay: Rate = 5e-4
    """The parsers' weight decay, on kernels alone."""
    head_factor: Rate = 10.0
    """A factor on the rate of the parsers' fusion module and heads."""
    schedule: Literal["poly", "cosine", "constant"] = "poly"
    """How the rates fall after the warm-up."""
    power: Rate = 0.9
    """The power of the schedule poly."""
    warmup_steps: Steps = 1000
    """The steps in which a rate grows to its peak."""
    warmup_rate: Annotated[float, Field(gt=0)] = 1e-5
    """The rate that the warm-up begins with; it grows by a factor."""
    translator_rate: Rate = 2e-4
    """The translator's peak rate (Adam)."""
    discriminator_rate: Rate = 2e-5
    """The discriminator's peak rate (Adam)."""


class Train(_Section):
    """The run."""

    steps: Count = 80_000
    """The steps of the run."""
    batch: Count = 16
    """The rows of a batch, over all devices."""
    ema: Decay = 0.0
    """The decay of the parameters' running average; 0 is off."""
    translator_from: str = ""
    """A workdir whose translator is used and stays as it is."""


class Eval(_Section):
    """Scores on held-out examples."""

    every: Count = 2000
    """The steps between evaluations on validation data."""
    batch: Count = 16
    """The rows of a batch, over all devices."""
    label_size: Annotated[int, Field(ge=-1, le=8192)] = 512
    """The side at which scores are counted; 0 is data.size, and -1 the labels' original
    size."""
    validation: str = ""
    """The dataset whose validation split chooses the best checkpoint of a run, as NAME/CONFIG;
    the run's own where empty."""
    split: str = "test"
    """The split that --mode evaluate scores."""
    dataset: str = ""
    """What --mode evaluate scores: NAME/CONFIG, several with commas, or NAME/*; the run's own
    where empty."""
    flip: bool = False
    """Whether --mode evaluate averages with the mirrored input."""
    boundary_tolerance: Annotated[int, Field(ge=-1)] = 2
    """The tolerance of the boundary F1 in pixels of the label; -1 is none."""
    pictures: Count = 8
    """The examples on the picture of --mode evaluate."""


class Log(_Section):
    """What a run writes for people."""

    every: Count = 50
    """The steps between lines of metrics.jsonl."""
    pictures_every: Count = 2000
    """The steps between pictures in TensorBoard."""


class Checkpoint(_Section):
    """What a run keeps."""

    every: Count = 1000
    """The steps between checkpoints."""
    keep: Count = 2
    """The latest checkpoints that stay; the best one stays besides."""
    best: str = ""
    """The route whose mean F1 on validation data chooses the best checkpoint; the first that
    the networks have of fusion, rgb and depth where empty."""


class Config(_Section):
    """All values of a run, frozen."""

    seed: Steps = 0
    """The seed of parameters, order and augmentation."""
    devices: Annotated[int, Field(ge=0)] = 0
    """The devices in the mesh; 0 is all that JAX sees."""
    data: Data = Data()
    augment: Augment = Augment()
    model: Model = Model()
    loss: Loss = Loss()
    optim: Optim = Optim()
    train: Train = Train()
    eval: Eval = Eval()
    log: Log = Log()
    checkpoint: Checkpoint = Checkpoint()

    def to_dict(self) -> dict[str, Any]:
        """The values as JSON has them, nested."""
        return self.model_dump(mode="json")

    def replaced(self, **sections: Any) -> "Config":
        """A copy with other values; a section is given as the keys of it that change."""
        values = self.model_dump()
        for name, value in sections.items():
            values[name] = values[name] | value if isinstance(value, Mapping) else value
        return Config.model_validate(values)


def _fields() -> Iterator[tuple[str, pydantic.fields.FieldInfo]]:
    """Every key, with a dot between section and name, and what is declared of it."""
    for name, field in Config.model_fields.items():
        if isinstance(field.default, _Section):
            for key, inner in type(field.default).model_fields.items():
                yield f"{name}.{key}", inner
        else:
            yield name, field


FIELDS: Mapping[str, pydantic.fields.FieldInfo] = dict(_fields())
"""What is declared of every key."""


def interval(key: str) -> str:
    """The range of a numeric key as mathematics writes it: ``[0, 1)`` has 0 and not 1.

    Empty where the key has no range.
    """
    field = FIELDS[key]
    marks = list(field.metadata)
    if field.annotation == Weight:
        marks = [annotated_types.Ge(0)]
    low = high = None
    for mark in marks:
        if isinstance(mark, annotated_types.Ge | annotated_types.Gt):
            low = ("[", mark.ge) if isinstance(mark, annotated_types.Ge) else ("(", mark.gt)
        if isinstance(mark, annotated_types.Le | annotated_types.Lt):
            high = (mark.le, "]") if isinstance(mark, annotated_types.Le) else (mark.lt, ")")
    if low is None:
        return ""
    top, end = high or ("inf", ")")
    return f"{low[0]}{low[1]}, {top}{end}"


def inside(value: int | float, between: str) -> bool:
    """Whether a number lies in an interval such as ``[0, 1)``; NaN lies in none."""
    low, high = (float(end) for end in between[1:-1].split(","))
    above = value >= low if between[0] == "[" else value > low
    below = value <= high if between[-1] == "]" else value < high
    return above and below


def expected(key: str) -> str:
    """What a key takes, in words."""
    field = FIELDS[key]
    if field.annotation == Weight:
        return f"a number in {interval(key)}, or points (step, number) with growing steps"
    if get_origin(field.annotation) is Literal:
        return " or ".join(map(repr, get_args(field.annotation)))
    if get_origin(field.annotation) is tuple:
        return "at least one number above 0"  # augment.scales
    kind = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}
    return kind[field.annotation] + (f" in {interval(key)}" if interval(key) else "")


def sentence(key: str) -> str:
    """What a key means."""
    return " ".join(FIELDS[key].description.split())


def default() -> ml_collections.ConfigDict:
    """A config with every key at its default, for a file of ``configs/`` to change."""
    values = Config().model_dump()
    for term in TERMS:
        # Of any type: a number, or points of a schedule.
        values["loss"][term] = config_dict.FieldReference(values["loss"][term], field_type=object)
    return ml_collections.ConfigDict(values)


Configs = ml_collections.ConfigDict | ml_collections.FrozenConfigDict | Config


def parse(config: Configs) -> Config:
    """The typed values of a config.

    Raises:
        InputError: keys that are missing or unknown, values out of their range, or values that
            do not go together; all faulty keys are named at once.
    """
    if isinstance(config, Config):
        _check_together(config)
        return config
    values = config.to_dict()
    given, known = _by_key(values).keys(), FIELDS.keys()
    if missing := sorted(known - given):
        raise InputError(
            "--config",
            f"a config without {', '.join(missing[:5])}"
            + (f" and {len(missing) - 5} more" if len(missing) > 5 else ""),
            "every key of faceparse_jax/config.py",
            "start the file with config = faceparse_jax.config.default(), as configs/base.py does",
        )
    if unknown := sorted(given - known):
        raise InputError(
            ", ".join(f"config.{key}" for key in unknown),
            "a key that does not exist",
            "keys of docs/configuration.md",
            "leave it out, or mend its name",
        )
    parsed = validated(values)
    _check_together(parsed)
    return parsed


def validated(values: Mapping[str, Any]) -> Config:
    """Nested values as a `Config`, each of them in its range.

    Raises:
        InputError: values that are not; all faulty keys are named at once.
    """
    try:
        return Config.model_validate(values)
    except pydantic.ValidationError as error:
        # A key may fail in several ways, such as a weight that is neither of its two forms.
        wrong = list(dict.fromkeys(_key(fault["loc"]) for fault in error.errors()))
        found = _by_key(values)
        raise InputError(
            ", ".join(f"config.{key}" for key in wrong),
            ", ".join(repr(found[key]) for key in wrong),
            "; ".join(expected(key) for key in wrong),
            "set " + " ".join(f"--config.{key}={_typed(FIELDS[key].default)}" for key in wrong),
        ) from error


def _by_key(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values by key; what a key holds stays whole, whatever it is."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            found[name] = value
    return found


def _typed(value: Any) -> str:
    """A value as one types it behind a flag."""
    return shlex.quote(str(value))


def _key(location: tuple[str | int, ...]) -> str:
    section = str(location[0])
    return section if section in FIELDS else f"{section}.{location[1]}"


def _check_together(config: Config) -> None:
    """Refuses values that are good alone and do not go together."""
    weights, frozen = config.loss.weights(), bool(config.train.translator_from)
    if not weights:
        raise InputError(
            "config.loss", "every weight at 0", "at least one term", "set --config.loss.rgb=1"
        )
    if frozen and (not weights.keys().isdisjoint(("translation", "adversarial"))
                   or "e2e" not in weights):  # fmt: skip
        told = ", ".join(
            f"loss.{term}={weights.get(term, 0)}" for term in ("translation", "adversarial", "e2e")
        )
        raise InputError(
            "config.train.translator_from",
            told,
            "a frozen translator that is used and has no loss of its own",
            "set --config.loss.translation=0 --config.loss.adversarial=0 --config.loss.e2e=1",
        )
    if config.data.paired_rows:
        if weights.keys().isdisjoint(("depth", "translation", "adversarial")):
            raise InputError(
                "config.data.paired_rows",
                f"{config.data.paired_rows}, and no term that they teach",
                "a weight for depth, translation or adversarial",
                "set --config.data.paired_rows=0 or --config.loss.depth=1",
            )
        if "mutual" in weights and not weights.keys() & {"e2e", "translation", "adversarial"}:
            raise InputError(
                "config.data.paired_rows",
                f"{config.data.paired_rows}, with mutual learning and no translator",
                "translated depth for the rows of the first batch",
                "set --config.loss.e2e=1 or --config.data.paired_rows=0",
            )
    data = config.data
    if (data.heads or data.reuse) and data.source != "rendered":
        raise InputError(
            "config.data.heads and config.data.reuse",
            f"{data.heads} and {data.reuse} with source {data.source!r}, which renders no heads",
            "0 and 0",
            "set --config.data.source=rendered, or leave these keys out",
        )
    if data.reuse and not data.heads:
        raise InputError(
            "config.data.reuse",
            f"{data.reuse}, where every row is a new head",
            "a pool of heads, or 0",
            "set --config.data.heads=2000 or --config.data.reuse=0",
        )
    if 0 < data.heads < config.train.batch:
        raise InputError(
            "config.data.heads",
            f"{data.heads}, fewer than the {config.train.batch} rows of a batch",
            "a pool that fills a batch, or 0",
            f"set --config.data.heads={config.train.batch} or more",
        )
    dataset = config.eval.validation
    if dataset and not re.fullmatch(r"[^/,*]+/[^/,*]+", dataset):
        raise InputError(
            "config.eval.validation",
            repr(dataset),
            "one dataset as NAME/CONFIG, or nothing for the run's own",
            "set it to NAME/CONFIG, for example lapa_d/official",
        )
    if config.augment.crop > config.data.size:
        size = config.data.size
        raise InputError(
            "config.augment.crop and config.data.size",
            f"{config.augment.crop} and {size}, so that much of every crop is outside",
            "a crop that fits into the picture",
            f"set --config.augment.crop={size // 32 * 32 or size}",
        )


def documentation() -> str:
    """docs/configuration.md: every key with its default, its values and its sentence."""
    lines = [
        "# Configuration",
        "",
        "`python -m faceparse_jax.config > docs/configuration.md` writes this page from",
        "`faceparse_jax/config.py`. Every key can be set in a file of `configs/`, which starts",
        "from `configs/base.py`, or on the command line as `--config.KEY=VALUE`.",
    ]
    sections = {"": "Config"} | {
        name: type(field.default).__name__
        for name, field in Config.model_fields.items()
        if isinstance(field.default, _Section)
    }
    for section, kind in sections.items():
        keys = [key for key in FIELDS if key.rpartition(".")[0] == section]
        text = "The run as a whole." if not section else globals()[kind].__doc__
        lines += ["", f"## {section or 'Run'}", ""]
        lines += [line.strip() for line in text.strip().splitlines()]
        lines += ["", "| key | default | values | meaning |", "|---|---|---|---|"]
        for key in keys:
            field = FIELDS[key]
            shown = f"{field.default:g}" if type(field.default) is float else repr(field.default)
            lines.append(f"| `{key}` | `{shown}` | {expected(key)} | {sentence(key)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Prints `documentation`."""
    print(documentation(), end="")


if __name__ == "__main__":
    interrupts.run(main)
