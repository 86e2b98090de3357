"""The model card of a run, ``card.md`` in its workdir."""

import contextlib

from faceparse_jax.checkpoints.card import call, card, checksums_told, networks_told
from faceparse_jax.checkpoints.pack import score
from faceparse_jax.checkpoints.store import read_meta, saved_steps
from faceparse_jax.checkpoints.trained import described
from faceparse_jax.errors import InputError
from faceparse_jax.runtime import interrupts, places
from faceparse_jax.runtime.places import Place

NAME = "card.md"


def write_run_card(workdir: Place) -> None:
    """Writes the card of the best checkpoint, or of the last one where there is no best.

    It has the scores of ``evaluation`` that are of this checkpoint. A workdir without a checkpoint
    gets none.

    Raises:
        InputError: a checkpoint whose meta cannot be read.
        OSError: a place that cannot be written.
    """
    which = next((which for which in ("best", "last") if saved_steps(workdir, which)), "")
    if not which:
        return
    trained = described(read_meta(workdir, which), workdir, which)
    for path in sorted((workdir / "evaluation").glob("*.json")):
        with contextlib.suppress(InputError):  # scores of another checkpoint
            trained.scores.append(score(path, trained))
    code = (
        "from faceparse_jax import load",
        "",
        'parser = load("WORKDIR")  # the folder of this card',
        call(trained),
    )
    holds = f"The checkpoints in this folder hold {networks_told(trained)}."
    rows = {"SHA-256 in results": checksums_told(trained.origin["sha256"])}
    text = card(workdir.name, trained, holds, code, rows)
    with interrupts.held():
        places.write(workdir / NAME, text.encode())
