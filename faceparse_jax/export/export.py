"""From trained networks to one file of another format, its record and its model card."""

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from faceparse_jax.checkpoints import packed
from faceparse_jax.checkpoints.card import MARK, card, checksums_told, config_hash, licence
from faceparse_jax.checkpoints.pack import score
from faceparse_jax.checkpoints.trained import Trained, load_trained
from faceparse_jax.errors import InputError, not_installed
from faceparse_jax.export.compare import Agreement, agreement, examples, latency, own_run
from faceparse_jax.export.formats import FORMATS, PLATFORMS, Format
from faceparse_jax.export.program import CHANNELS, Program
from faceparse_jax.models.routes import ROUTES, routes
from faceparse_jax.prediction.parser import parser_of
from faceparse_jax.runtime import interrupts, machine, records
from faceparse_jax.runtime.places import Place

LEAST_LABELS, MOST_CONFIDENCE = 0.999, 0.01
"""The share of equal labels, and the difference of a probability, beyond which nothing is kept."""

_RECORD = "an export of faceparse_jax"


def export(
    workdir: Place | None,
    which: str,
    format: str,
    out: pathlib.Path,
    *,
    input: str | None = None,
    output: str | None = None,
    phone: bool = False,
    scores: Sequence[pathlib.Path] = (),
) -> pathlib.Path:
    """Writes networks as a program; prints how far it agrees with the parser, and the latency.

    Beside ``NAME.FORMAT`` it writes the record ``NAME.FORMAT.json`` (classes, inputs, outputs,
    licence, hash) and the model card ``NAME.FORMAT.md``. They replace earlier ones of ours, and
    nothing is written where anything fails.

    Args:
        workdir: a run's folder or a packed file; the shipped networks where None.
        which: ``best`` or ``last``.
        format: a key of `formats.FORMATS`.
        out: ``NAME.FORMAT``.
        input: ``image``, ``depth`` or ``both``; the photograph where None and where the networks
            take one.
        output: a route; the one that the parser takes for such an input where None.
        phone: whether to leave out what the GPUs of phones refuse.
        scores: JSON files that `evaluate` wrote of this checkpoint, for the card.

    Returns:
        The model card.

    Raises:
        InputError: no such checkpoint, scores of another one, a module that is missing, a route
            that the networks do not have, operations that a converter refuses, a program that
            does not agree with the parser, another file in the way, or a place that cannot be
            written.
    """
    kind = FORMATS[format]
    _check_out(out, format)
    for module in kind.needs:
        if not importlib.util.find_spec(module):
            raise not_installed(f"--format {format}", module, "export")
    if phone and not kind.phones:
        raise InputError(
            "--phone", f"--format {format}", "a format that phones run", "add --format tflite"
        )
    trained = load_trained(packed.shipped() if workdir is None else workdir, which)
    kept = [score(path, trained) for path in scores] or trained.scores
    program = _program(trained, input, output, phone)
    data = kind.write(program)
    run, inputs = kind.open(data), examples(program, kind.any_size)
    found = agreement(run, parser_of(trained, 1), program.route, inputs, kind.any_size)
    version = importlib.metadata.version(kind.distribution)
    _check_agreement(found, f"{out.name} in {kind.runtime} {version}")
    record = _record(program, format, data, found)
    text = _card(out.name, program, kind, data, record, kept)
    target = _write(out, data, record, text)
    print(f"{out}: {len(data) / 1e6:.1f} MB; its record is {out}.json, its model card {target}")
    print(f"on {found.inputs} rendered heads, beside the parser: {_told(found)}")
    own = "JAX " + importlib.metadata.version("jax")
    name = f"{kind.runtime} {version}" + ", this file" * (kind.runtime == "JAX")
    spent = latency({name: run, own: own_run(program, kind.any_size)}, inputs[0])
    told = (f"{name} {m:.1f} ms ({a:.1f} to {b:.1f})" for name, (m, a, b) in spent.items())
    print(f"one input, median of 20 calls in turn on {machine.cores()} cores: {'; '.join(told)}")
    return target


def _program(trained: Trained, input: str | None, output: str | None, phone: bool) -> Program:
    """The route of these inputs, as the parser chooses it."""
    if input is None:
        input = "image" if routes(trained.system.networks(), ("image",)) else "depth"
    inputs = tuple(CHANNELS) if input == "both" else (input,)
    allowed = {"image": "image" in inputs, "depth": "depth" in inputs}
    route = parser_of(trained).route(**allowed, output=output)
    # An input that the route does not read would be no input of the program.
    there = {"image": "image", "depth": "depth map"}
    read = tuple(
        name for name in inputs if any(there[name] in needed for needed in ROUTES[route].inputs)
    )
    return Program(trained, route, read, trained.config.data.size, phone)


def _check_agreement(found: Agreement, what: str) -> None:
    """Raises InputError; values that are no numbers agree with nothing."""
    if not (found.labels >= LEAST_LABELS and found.confidence <= MOST_CONFIDENCE):
        raise InputError(
            what,
            _told(found),
            f"at least {100 * LEAST_LABELS:g} % and at most {MOST_CONFIDENCE:g}, so that nothing "
            "was kept",
            "choose another --format, or other versions of the converters",
        )


def _told(found: Agreement) -> str:
    return (
        f"{100 * found.labels:.3f} % of the labels equal at least, probabilities of the chosen "
        f"class {found.confidence:.1e} apart at most"
    )


def _record(program: Program, format: str, data: bytes, found: Agreement) -> dict[str, Any]:
    trained, size = program.trained, program.size
    scheme, any_size = trained.scheme, FORMATS[format].any_size
    shape = ["h", "w"] if any_size else [1, size, size]
    second = {"confidence": ["float32", shape]}
    if not any_size:
        second = {"probabilities": ["float32", [*shape, scheme.num_classes]]}
    return {
        "what": _RECORD,
        "sha256": hashlib.sha256(data).hexdigest(),
        "format": format,
        "platforms": list(PLATFORMS) if format == "stablehlo" else None,
        "phone": program.phone,
        "inputs": {name: ["uint8", [*shape, CHANNELS[name]]] for name in program.inputs},
        "outputs": {"label": ["uint8", shape], **second},
        "route": program.route,
        "scheme": scheme.name,
        "left_of": scheme.left_of,
        "classes": [
            {"id": number, "name": name, "colour": list(colour)}
            for number, (name, colour) in enumerate(
                zip(scheme.classes, scheme.colours, strict=True)
            )
        ],
        "licence": licence(trained),
        "networks": {
            "sha256": trained.origin["sha256"],
            "step": trained.meta["step"],
            "trained_with": trained.meta["code_version"],
            "config_sha256": config_hash(trained.meta["config"]),
        },
        "agreement": {"labels": found.labels, "confidence": found.confidence},
    }


_CODE = {
    "stablehlo": (
        "import jax",
        "",
        'program = jax.export.deserialize(bytearray(open("{name}", "rb").read()))',
        "result = jax.jit(program.call)({given})  # label u8 [h w], confidence f32 [h w]",
    ),
    "onnx": (
        "import onnxruntime",
        "",
        'session = onnxruntime.InferenceSession("{name}")',
        'label, probabilities = session.run(["label", "probabilities"], dict({given}))',
    ),
    "tflite": (
        "from ai_edge_litert.interpreter import Interpreter",
        "",
        'run = Interpreter("{name}").get_signature_runner()',
        "result = run({given})  # label u8 [1 s s], probabilities f32 [1 s s k]",
    ),
}


def _card(
    name: str, program: Program, kind: Format, data: bytes, record: dict[str, Any], kept: list
) -> str:
    trained, size = program.trained, program.size
    given = ", ".join(program.inputs)
    holds = (
        f"This file is a program that runs in {kind.runtime}, without faceparse_jax. It is the "
        f"{ROUTES[program.route].title}."
    )
    code = [
        line.format(name=name, given=", ".join(f"{given}={given}" for given in program.inputs))
        for line in _CODE[record["format"]]
    ]
    side = "of any size" if kind.any_size else f"that fill a square of {size} px, in a batch of one"
    rows = {
        "inputs of the program": f"{given}: u8, {side}",
        "size": f"{len(data) / 1e6:.1f} MB",
        "agreement with the parser": _told(Agreement(**record["agreement"], inputs=0)),
        "for the GPUs of phones": "yes" if program.phone else "",
        "SHA-256 of the file": f"`{record['sha256']}`",
        "SHA-256 of the networks": checksums_told(record["networks"]["sha256"]),
    }
    return card(name, dataclasses.replace(trained, scores=kept), holds, code, rows)


def _check_out(out: pathlib.Path, format: str) -> None:
    """Raises InputError for a name of another format, or where files that are not ours lie."""
    if out.suffix != f".{format}":
        raise InputError(
            f"--out {out}",
            "a name of another kind",
            f"one that ends in .{format}",
            f"add --out {out.name or 'networks'}.{format}",
        )
    written = places_beside(out)
    there = [path for path in (out, *written) if path.exists()]
    if not there:
        return
    try:
        record = records.read(written[0], "", "", what=str, sha256=str)
        same = hashlib.sha256(out.read_bytes()).hexdigest() == record["sha256"]
        ours = same and record["what"] == _RECORD and MARK in written[1].read_text("utf8")
    except (InputError, OSError, UnicodeDecodeError):
        ours = False
    if not ours:
        raise InputError(
            str(there[0]), "another file", "none, or one of --mode export with its record and card",
            "move it, or name another",
        )  # fmt: skip


def places_beside(out: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """The record and the model card of an exported file."""
    return out.with_name(f"{out.name}.json"), out.with_name(f"{out.name}.md")


def _write(out: pathlib.Path, data: bytes, record: dict[str, Any], text: str) -> pathlib.Path:
    """Writes the three files, or none of them."""
    beside = places_beside(out)
    contents = (data, (json.dumps(record, indent=1) + "\n").encode(), text.encode())
    done = []
    try:
        with interrupts.held():
            for path, content in zip((out, *beside), contents, strict=True):
                packed.write(path, content)
                done.append(path)
    except InputError:
        for path in done:
            path.unlink(missing_ok=True)
        raise
    return beside[1]
