"""Photographs that two benchmarks share: who trains on one and scores on the other, leaks.

LaPa's training set has warped photographs of Helen. Their ids are `HELEN_`, the id in Helen, and
the number of the warp, such as `HELEN_137346980_1_5`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from faceparse_jax.data.splits import Split

LAPA, HELEN, CELEBAMASK_HQ = "lapa_d", "helen_d", "celebamask_hq_d"
WHOLE_CELEBAMASK_HQ = "celebamask_hq/all"
"""All 30,000 photographs without a split, from which public parsers learned."""
WITHOUT_HELEN = "without_helen"
"""The config of LaPa that leaves the photographs of Helen out."""
OF_HELEN = 5_473
"""Photographs of Helen in the official training set of LaPa."""


def of_helen(key: str) -> bool:
    """Whether an id of LaPa is that of a photograph of Helen."""
    return key.startswith("HELEN_")


def leaks(meta: Mapping[str, Any], scored: Split, ids: Callable[[], Sequence[str]]) -> str:
    """As `leak`, of all that networks learned from, also before they began anew.

    Args:
        meta: its ``dataset`` as checkpoints have it, and ``init`` where there is any.
    """
    before = (name.split("/") for of in meta.get("init") or () for name in of["trained_on"])
    origins = [meta["dataset"], *({"name": name, "config": config} for name, config in before)]
    return "; ".join(dict.fromkeys(filter(None, (leak(of, scored, ids) for of in origins))))


def leak(trained_on: Mapping[str, str], scored: Split, ids: Callable[[], Sequence[str]]) -> str:
    """Why a score is too high, as a sentence; empty where no photographs are known to be shared.

    Args:
        trained_on: what a checkpoint says of its dataset (`Split.record`).
        scored: the split that is scored.
        ids: gives the ids of that split; called only where they decide.
    """
    trained = f"{trained_on['name']}/{trained_on['config']}"
    here = f"{scored.name}/{scored.config} {scored.split}"
    if trained == WHOLE_CELEBAMASK_HQ and scored.name == CELEBAMASK_HQ:
        return (
            "the networks are public weights or began from them, and their code trains on all "
            f"photographs of CelebAMask-HQ, so the scores on {here} are too high"
        )
    if trained_on["name"] == LAPA and scored.name == HELEN:
        if trained_on["config"] == WITHOUT_HELEN:
            return ""
        return (
            f"the networks were trained on {trained}, whose official training set has "
            f"{OF_HELEN:,} warped photographs of Helen, so their scores on {here} are too high; "
            f"train on {LAPA}/{WITHOUT_HELEN} to compare"
        )
    if trained_on["name"] == HELEN and scored.name == LAPA:
        shared = sum(map(of_helen, ids()))
        if shared:
            return (
                f"the networks were trained on {trained}, and {shared:,} of "
                f"{scored.num_examples:,} photographs of {here} are warped photographs of Helen, "
                f"so their scores may be too high; score on {LAPA}/{WITHOUT_HELEN} to compare"
            )
    return ""
