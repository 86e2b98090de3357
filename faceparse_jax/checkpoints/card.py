"""The model card of trained networks, as Markdown: of a run, of a packed file, of an export."""

import dataclasses
import hashlib
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from faceparse_jax import labels
from faceparse_jax.checkpoints.packed import Label
from faceparse_jax.checkpoints.trained import Trained
from faceparse_jax.config import Config
from faceparse_jax.data.overlap import WHOLE_CELEBAMASK_HQ
from faceparse_jax.data.splits import HEADS
from faceparse_jax.models.routes import ROUTES
from faceparse_jax.models.torch_weights import LAYOUTS, TORCHVISION
from faceparse_jax.runtime.command_line import COMMAND
from faceparse_jax.runtime.records import flat

MARK = "<!-- faceparse_jax wrote this card"
"""With it a card's second paragraph begins."""


@dataclasses.dataclass(frozen=True)
class File:
    """What a card says of the file itself.

    Attributes:
        size: in bytes.
        sha256: of its bytes.
        told: the SHA-256 that results name.
        precision: of its kernels, `packed.HALF` or `packed.SINGLE`.
    """

    name: str
    size: int
    sha256: str
    told: str
    precision: str

    def rows(self) -> dict[str, str]:
        return {
            "size": f"{self.size / 1e6:.1f} MB; kernels are stored in {self.precision} precision",
            "SHA-256 of the file": f"`{self.sha256}`",
            "SHA-256 in results": f"`{self.told}`",
        }


_CALL_RGB = "result = parser(image=photo)  # u8 [h w 3]"
_FOR = (
    "* **For** label maps of faces: editing of pictures, measurements on parts of a face, "
    "teaching and research, and as a start of a training."
)
_NOT_FOR = "* **Not for** deciding about people. The networks do not tell who somebody is. {}"
_UNMEASURED = "Nothing here measures whether they are equally good for everybody."
_DEPTH = " Depth must have the form that docs/prediction.md describes."
_INPUT = (
    "* **Input.** Prediction looks for faces in photographs, where the classes have the parts of "
    "one. Otherwise one face should fill much of the frame." + _DEPTH
)
_PERSONAL = (
    "* **Personal data.** Faces are personal data. Photographs and depth maps of people, and the "
    "label maps that are made of them, may be kept and used only where the law or the people who "
    "are shown allow it."
)
_UNSCORED = "None were measured here. `--scores` of `--mode export` takes those of an evaluation."
_KNOWN = {
    WHOLE_CELEBAMASK_HQ: "As far as the public code tells, the public weights learned from all "
    "30,000 photographs of CelebAMask-HQ, and faces, cameras and light that these lack may be "
    "parsed worse. Scores on its validation and test photographs are therefore too high.",
    TORCHVISION.trained_on: "The public weights learned to tell 1,000 classes of pictures from "
    "each other, on the photographs of ImageNet, which show people too.",
}
PLACES = ("data.data_dir", "model.init", "train.translator_from")
"""Keys that name places on the machine that trained; ``meta['init']`` tells what was begun with."""
SHAPES = tuple(
    f"model.{key}" for key in ("backbone", "width", "depth_channels", "translator_features")
)
"""The keys by which the shapes of networks go."""
_NETWORKS = {
    "rgb": "a parser for photographs",
    "depth": "a parser for depth maps",
    "translator": "a translator from photographs to depth",
}


def card(
    name: str,
    trained: Trained,
    holds: str,
    code: Sequence[str],
    rows: Mapping[str, str],
    ships: bool = False,
) -> str:
    """The card of what lies beside it.

    Args:
        name: of the file, or of the run's folder.
        trained: what `load_trained` gives of it.
        holds: a sentence on what it holds.
        code: lines of Python that use it.
        rows: of the table, what is known of the file.
        ships: whether it is the file that `load` opens where none is named.
    """
    meta, data, scheme = trained.meta, trained.meta["dataset"], trained.scheme
    classes = (
        f"which are {_listed(list(scheme.classes))}"
        if labels.is_own(scheme)
        else "which `python -m faceparse_jax.labels` prints"
    )
    opening = _paragraph(
        f"{holds} A face is divided into the {scheme.num_classes} classes of the label scheme "
        f"`{scheme.name}`, {classes}."
    )
    opening += ["", "```python", *code, "```", ""]
    if "source" in meta:
        return imported_card(name, {"meta": meta, "scores": trained.scores}, rows, opening)
    learned = _learned(trained)
    lines = [f"# {name}", "", f"{MARK}; docs/export.md tells of it -->", "", *opening]
    lines += _table(
        {
            "input": f"{trained.config.data.size} px; other sizes are fitted into this square",
            "trained on": f"{data['name']}/{data['config']}"
            + (f", {data['merge_order']} merge order" if data.get("merge_order") else ""),
            "version of the renderer" if data["name"] == HEADS else "version of the data": data.get(
                "version"
            ),
            "fingerprint of the data": data.get("fingerprint"),
            "began from": _begun(meta.get("init")),
            "steps": f"{meta['step']:,} of {trained.config.train.steps:,}",
            "checkpoint": trained.origin["checkpoint"] + _chosen(meta.get("best")),
            "parameters": "their running average" if trained.config.train.ema else "of that step",
            "seed": meta["seed"],
            "code version": meta["code_version"],
            "libraries": ", ".join(f"{k} {v}" for k, v in meta.get("libraries", {}).items()),
            "SHA-256 of the config": f"`{config_hash(meta['config'])}`",
            **rows,
        }
    )
    lines += [
        "",
        "## Intended use and limits",
        "",
        *_limits(_rendered(learned), learned, meta.get("best"), ships),
    ]
    lines += ["", "## Scores", "", *_scores(trained.scores)]
    lines += ["", "## Recipe", "", *_recipe(trained.config)]
    lines += ["", "## Licence", "", *_paragraph(licence(trained))]
    return "\n".join(lines) + "\n"


def networks_told(trained: Trained) -> str:
    """The networks in words."""
    return _listed([told for name, told in _NETWORKS.items() if name in _networks(trained)])


def checksums_told(sha256: Mapping[str, str] | str | None) -> str:
    """Of networks: one checksum, or one for each part of a checkpoint."""
    if isinstance(sha256, Mapping):
        return ", ".join(f"{part} `{value}`" for part, value in sha256.items())
    return f"`{sha256}`" if sha256 else ""


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of a stored config, but for the keys that name places on the machine that trained.

    Args:
        config: nested, as `Config.to_dict` gives it.
    """
    own = {key: value for key, value in flat(config).items() if key not in PLACES}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


def _networks(trained: Trained) -> list[str]:
    return [name for name in trained.system.networks() if name in _NETWORKS]


def _learned(trained: Trained) -> list[str]:
    data = trained.meta["dataset"]
    return [
        f"{data['name']}/{data['config']}",
        *(name for of in trained.meta.get("init") or () for name in of["trained_on"]),
    ]


def _rendered(learned: Sequence[str]) -> bool:
    return all(name.startswith(f"{HEADS}/") for name in learned)


def imported_card(
    name: str, label: Label, rows: Mapping[str, str], opening: Sequence[str] = ()
) -> str:
    """The card of a file that holds imported weights.

    Args:
        name, rows: as for `card`.
        label: of the file.
        opening: the lines before the table, where the file is no packed one.
    """
    meta, source = label["meta"], label["meta"]["source"]
    parser, size = source["holds"] == "parser", meta["config"]["data"]["size"]
    network = f"ResNet-{meta['config']['model']['backbone']}"
    lines = [f"# {name}", "", f"{MARK}; docs/export.md tells of it -->", ""]
    origin = (
        f"It was imported from `{source['file']}`, which has the layout of {source['project']}."
    )
    if opening:
        lines += [*_paragraph(origin), "", *opening]
    elif parser:
        scheme = labels.scheme(meta["dataset"]["scheme"])
        lines += _paragraph(
            f"This file holds a parser for photographs, a BiSeNet with {network}. It divides a "
            f"face into the {scheme.num_classes} classes of the label scheme `{scheme.name}`, "
            f"which `python -m faceparse_jax.labels` prints. {origin}"
        )
        lines += ["", "```python", "from faceparse_jax import load", ""]
        lines += [f'parser = load("{name}")', f"{_CALL_RGB}", "```", ""]
    else:
        lines += _paragraph(
            f"This file holds a {network} without its classifier, with which the parsers of a "
            f"training may begin. It parses nothing by itself. {origin}"
        )
        command = f"{COMMAND} --config lapa_d --workdir runs/lapa --config.model.init={name}"
        lines += ["", "```bash", command, "```", ""]
    numbers = ["({})".format(", ".join(map(str, source[key]))) for key in ("mean", "std")]
    own = {
        "imported from": f"`{source['file']}`",
        "SHA-256 of that file": f"`{source['sha256']}`",
        "layout": source["project"],
        "photographs": "sRGB in 0 to 1, normalised by mean {} and standard deviation {}".format(
            *numbers
        ),
        "input": f"{size} px; other sizes are fitted into this square" if parser else None,
        "imported with": meta["code_version"],
        "not used of that file": ", ".join(map("`{}`".format, _grouped(meta["unused"]))),
    }
    lines += _table({**own, **rows})
    data = f"{meta['dataset']['name']}/{meta['dataset']['config']}"
    items = [
        *([_FOR, _NOT_FOR.format(_UNMEASURED)] if parser else []),
        f"* **What they know.** {_KNOWN[data]}",
        _PERSONAL,
        *([_INPUT.removesuffix(_DEPTH)] if parser else []),
    ]
    lines += ["", "## Intended use and limits", ""]
    lines += [line for item in items for line in _paragraph(item)]
    lines += ["", "## Scores", ""]
    if label["scores"]:
        lines += _scores(label["scores"])
    else:
        lines.append(_UNSCORED if parser else "A backbone has none.")
    lines += ["", "## Licence", ""]
    lines += _paragraph(_imported_licence(source))
    return "\n".join(lines) + "\n"


def _imported_licence(source: Mapping[str, Any]) -> str:
    return (
        f"The code of {source['project']} is under the {source['code_licence']} licence. "
        f"{source['licence']} Whether the file holds the public weights cannot be told from it: "
        "weights that somebody else trained have terms of their own."
    )


def _grouped(names: Sequence[str]) -> Iterator[str]:
    """Names, with one pattern for all counters of batches."""
    counters = [name for name in names if name.endswith(".num_batches_tracked")]
    if counters:
        yield "*.num_batches_tracked"
    yield from (name for name in names if name not in counters)


def _table(rows: Mapping[str, Any]) -> Iterator[str]:
    yield from ("| what | value |", "|---|---|")
    yield from (f"| {what} | {value} |" for what, value in rows.items() if value not in (None, ""))


def call(trained: Trained) -> str:
    """How a parser is called with an input that its networks can take."""
    networks = _networks(trained)
    if "depth" not in networks:
        return _CALL_RGB
    if "rgb" not in networks:
        return "result = parser(depth=depth)  # u8 or u16 [h w], 0 = none"
    return "result = parser(image=photo)  # u8 [h w 3], or depth=..., or both"


def _chosen(best: Mapping[str, Any] | None) -> str:
    """By what a checkpoint was chosen, behind its name."""
    if not best or not best.get("route"):
        return ""
    of = f" of {best['dataset']}" if best.get("dataset") else ""
    return (
        f", by mean F1 {100 * best['score']:.1f} % of the route {best['route']} on validation "
        f"data{of}"
    )


def _begun(init: list[Mapping[str, Any]] | None) -> str:
    """The networks that the training took over."""
    told = (
        f"{', '.join(of['networks'])} of {of['network']} (`{of['sha256']}`)" for of in init or ()
    )
    return "; ".join(told)


def _limits(
    rendered: bool, learned: list[str], best: Mapping[str, Any] | None, ships: bool
) -> list[str]:
    of_heads = (
        "* **Rendered heads alone.** No photograph of a person was seen in training. Photographs "
        "differ from rendered heads in skin, hair, light, clothes and background, so the label "
        "maps of photographs have more faults than the scores on rendered heads tell. Look at the "
        "overlays before you rely on them, or start a training on photographs of your own from "
        "these networks. The renderer was fitted to the sizes of faces' parts in the labels of "
        "CelebAMask-HQ"
    )
    chosen_on = (best or {}).get("dataset", "")
    photographs = chosen_on and not chosen_on.startswith(f"{HEADS}/")
    of_heads += (
        f", and validation photographs of {chosen_on} chose the checkpoint." if photographs else "."
    )
    of_data = (
        f"* **What they know.** They were trained on {_listed(sorted(set(learned)))}, and faces, "
        "cameras and light that these data lack may be parsed worse."
    )
    items = [
        _FOR,
        _NOT_FOR.format(
            "They are not equally good for everybody: docs/heads.md has their scores by the "
            "brightness of the skin, for turned faces and for glasses."
            if ships
            else _UNMEASURED
        ),
        of_heads if rendered else of_data,
        _INPUT,
        _PERSONAL,
    ]
    return [line for item in items for line in _paragraph(item)]


def _scores(scores: list[dict[str, Any]]) -> Iterator[str]:
    """A table for each dataset: a row for each score, a column for each route, in percent."""
    if not scores:
        yield _UNSCORED
    for number, of in enumerate(scores):
        on, side = of["scored_on"], of["scoring_resolution"]
        routes = {name: of["routes"][name] for name in ROUTES if name in of["routes"]}
        if number:
            yield ""
        yield from _paragraph(
            f"Percent on {on['examples']['all']:,} examples of {on['name']}/{on['config']} "
            f"{on['split']} (version {on['version']}, fingerprint {on['fingerprint']}), in the "
            f"classes of `{of['scored_in_scheme']}`, "
            + ("at the labels' original size" if side == "original" else f"at {side} px")
            + (", as the mean with the mirror image" if of["flip"] else "")
            + "."
        )
        columns = [ROUTES[route].title for route in routes]
        if on["split"] == "validation":
            yield from _paragraph(
                "By validation data checkpoints and settings are chosen, so that scores on them "
                "are a little too good."
            )
        if of.get("leak"):
            yield from _paragraph(f"Beware: {of['leak']}.")
        yield from ("", f"| score | {' | '.join(columns)} |", "|---|" + "---|" * len(columns))
        names = {"f1/mean": "mean F1", "iou/mean": "mean IoU", "accuracy": "accuracy"}
        names |= {f"f1/{name}": f"F1 {name}" for name in of["classes"]}
        for key, told in names.items():
            cells = [f"{100 * of[key]:.1f}" if key in of else "" for of in routes.values()]
            if any(cells):
                yield f"| {told} | {' | '.join(cells)} |"


def _recipe(config: Config) -> Iterator[str]:
    """The keys that are not at their defaults, and those that a start of a training needs."""
    default, own = flat(Config().to_dict()), flat(config.to_dict())
    yield from _paragraph(
        "These keys of the config decide the networks' shapes or differ from their defaults "
        "(docs/configuration.md explains them), and the header of the file has them all."
    )
    yield from ("", "| key | value |", "|---|---|")
    for key, value in own.items():
        if value != default[key] or key in SHAPES:
            yield f"| `{key}` | `{value!r}` |"


def licence(trained: Trained) -> str:
    """What holds for the networks, by the data that they learned from."""
    if "source" in trained.meta:
        return _imported_licence(trained.meta["source"])
    learned = _learned(trained)
    if _rendered(learned):
        return (
            "MIT, as the code. The rendered heads, from which alone the networks learned, depict "
            "no person and are free of restrictions."
        )
    return (
        f"The networks learned from {_listed(sorted(set(learned)))}, whose terms hold for them "
        "too: CelebAMask-HQ and LaPa are for non-commercial research only, and Helen's photographs "
        "belong to their authors. The MIT licence of the code does not cover this file."
        + "".join(sorted({f" {of.licence}" for of in LAYOUTS if of.trained_on in learned}))
    )


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1])] * (len(words) > 1) + words[-1:])


def _paragraph(text: str) -> list[str]:
    indent = "  " if text.startswith("* ") else ""
    return textwrap.wrap(text, 110, subsequent_indent=indent, break_on_hyphens=False)
