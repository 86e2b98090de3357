"""How far an exported program agrees with the parser, and how long both take."""

import dataclasses
import statistics
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from faceparse_jax.data.synthetic import heads
from faceparse_jax.data.synthetic.render import SIZES
from faceparse_jax.export.formats import Run
from faceparse_jax.export.program import Program
from faceparse_jax.images import resize_depth, resize_image
from faceparse_jax.images.normalise import OUTSIDE
from faceparse_jax.images.resize import in_square
from faceparse_jax.prediction.parser import Parser

Inputs = dict[str, np.ndarray]

_KEYS = heads.HELD_OUT["test"][:5]
# Parts of the rendered square: the whole, upright, lying, and smaller than the networks' square.
_PARTS = (
    np.s_[:, :], np.s_[:, ::2], np.s_[: -SIZES[0] // 4], np.s_[:, SIZES[0] // 4 :], np.s_[::4, ::4],
)  # fmt: skip
_CALLS = 20


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far a program agrees with the parser.

    Attributes:
        labels: the share of equal labels, of the input that has the fewest.
        confidence: the largest difference of the probability of a pixel's chosen class.
        inputs: how many were compared.
    """

    labels: float
    confidence: float
    inputs: int


def examples(program: Program, any_size: bool) -> list[Inputs]:
    """Five rendered heads that no training has seen, as inputs of a program.

    Args:
        any_size: of several shapes, without an axis for a batch; else each fills the square.
    """
    size = program.size
    side = min(max(size, SIZES[0]), SIZES[1]) // 4 * 4
    found = heads.rendered(_KEYS, min(2 * side, SIZES[1]) if any_size else side)
    parts = _PARTS if any_size else [np.s_[:, :]] * len(_KEYS)
    made = []
    for row, part in enumerate(parts):
        given = {name: np.ascontiguousarray(found[name][row][part]) for name in program.inputs}
        if not any_size:
            given = {name: _square(name, value, size)[None] for name, value in given.items()}
        made.append(given)
    return made


def _square(name: str, value: np.ndarray, size: int) -> np.ndarray:
    if name == "image":
        return in_square(value, size, resize_image, OUTSIDE)
    return in_square(value[..., 0], size, resize_depth, 0)[..., None]


def agreement(
    run: Run, parser: Parser, route: str, inputs: Sequence[Inputs], any_size: bool
) -> Agreement:
    """Runs a program and the parser on the same inputs."""
    labels, confidence = [], []
    for given in inputs:
        said = run(given)
        own = {name: value if any_size else value[0] for name, value in given.items()}
        wanted = parser(**own, output=route, crop="none")
        label = said["label"] if any_size else said["label"][0]
        sure = said["confidence"] if any_size else said["probabilities"][0].max(-1)
        labels.append(float(np.mean(label == wanted.label)))
        confidence.append(float(np.max(np.abs(sure - wanted.confidence))))
    return Agreement(min(labels), max(confidence), len(inputs))


def own_run(program: Program, any_size: bool) -> Run:
    """The program in JAX with the forms that are fastest on this machine."""
    call = jax.jit(program.photograph if any_size else program.parse)
    return lambda inputs: jax.device_get(call(**inputs))


def latency(runs: Mapping[str, Run], given: Inputs) -> dict[str, tuple[float, float, float]]:
    """Milliseconds for one input by program: the median, the fastest and the slowest of 20 calls.

    The programs take turns, after two calls of each that do not count.
    """
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(_CALLS + 2):
        for name, run in runs.items():
            since = time.perf_counter()
            run(given)
            if turn >= 2:
                spent[name].append(1000 * (time.perf_counter() - since))
    return {name: (statistics.median(of), min(of), max(of)) for name, of in spent.items()}
