"""Saving and restoring runs; the only file that imports orbax.

A workdir holds ``checkpoints/last`` (the latest few, whole states, to resume from) and
``checkpoints/best`` (the one with the best validation score, for inference). Both keep
what inference needs in an item of its own, so that it is restored without optimiser
state and strictly: a missing, surplus or misshaped tensor is an error.
"""

import json
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import Mesh

from faceparse_jax.errors import InputError
from faceparse_jax.sharding import replicated
from faceparse_jax.state import TrainState

Meta = dict[str, Any]


def _manager(directory: pathlib.Path, keep: int | None, asynchronous: bool = True):
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep, enable_async_checkpointing=asynchronous, create=keep is not None
    )
    return ocp.CheckpointManager(directory.resolve(), options=options)


def _inference(state: TrainState) -> dict:
    return {"params": state.params, "batch_stats": state.batch_stats}


class Checkpoints:
    """The checkpoints of one run; a context manager that waits for pending writes.

    Args:
        workdir: the run's folder.
        keep: how many of the latest checkpoints stay.
    """

    def __init__(self, workdir: pathlib.Path, keep: int):
        folder = pathlib.Path(workdir) / "checkpoints"
        self._last = _manager(folder / "last", keep)
        # Kept apart: a best-score policy in one manager would drop the latest step.
        self._best = _manager(folder / "best", 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._last.close()
        self._best.close()

    def save(self, state: TrainState, meta: Meta) -> None:
        """Writes a whole state in the background."""
        step = int(state.step)
        if step in self._last.all_steps():
            return
        trees = self._trees(state)
        saves = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
        meta = ocp.args.JsonSave(meta | {"step": step})
        self._last.save(step, args=ocp.args.Composite(**saves, meta=meta))

    @staticmethod
    def _trees(state: TrainState) -> dict:
        trees = {"inference": _inference(state), "opt_state": state.opt_state}
        return trees | ({"average": state.ema} if state.ema else {})

    def save_best(self, state: TrainState, meta: Meta) -> None:
        """Replaces the best checkpoint; it holds the averaged weights where they are on."""
        step = int(state.step)
        # Resuming from before the previous best must not leave a later step in the way.
        for old in self._best.all_steps():
            if old >= step:
                self._best.delete(old)
        chosen = state.ema or _inference(state)
        self._best.save(
            step,
            args=ocp.args.Composite(
                inference=ocp.args.StandardSave(chosen),
                meta=ocp.args.JsonSave(meta | {"step": step}),
            ),
        )

    def restore(self, state: TrainState, mesh: Mesh) -> tuple[TrainState, Meta] | None:
        """The latest state, laid out over `mesh`, and its meta; None where there is none.

        Args:
            state: a state, or its shapes, of the same networks and optimisers.
        """
        step = self._last.latest_step()
        if step is None:
            return None

        place = replicated(mesh)
        targets = {
            name: ocp.args.StandardRestore(_like(tree, place))
            for name, tree in self._trees(state).items()
        }
        restored = self._last.restore(
            step, args=ocp.args.Composite(**targets, meta=ocp.args.JsonRestore())
        )
        whole = TrainState(
            step=jax.device_put(jax.numpy.int32(step), place),
            **restored["inference"],
            opt_state=restored["opt_state"],
            ema=restored["average"] if state.ema else {},
        )
        return whole, restored["meta"]


def _like(tree: Any, place: jax.sharding.Sharding) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)


def read_meta(workdir: pathlib.Path, which: str = "best") -> Meta:
    """The meta of a run's ``best`` or ``last`` checkpoint.

    Raises:
        InputError: the workdir holds no such checkpoint.
    """
    folder = pathlib.Path(workdir) / "checkpoints" / which
    steps = [int(p.name) for p in folder.iterdir() if p.name.isdigit()] if folder.is_dir() else []
    if not steps:
        raise InputError(
            str(folder),
            "no checkpoint",
            "a trained run",
            f"train first: python -m faceparse_jax.main --config configs/X.py --workdir {workdir}",
        )
    text = (folder / str(max(steps)) / "meta" / "metadata").read_text()
    return json.loads(text)


def load_inference(workdir: pathlib.Path, like: Any, which: str = "best") -> dict[str, dict]:
    """Parameters and statistics of a checkpoint, strictly in the form of `like`.

    Args:
        workdir: the run's folder.
        like: shapes of ``{'params', 'batch_stats'}``, by network.
        which: ``best`` or ``last``.

    Raises:
        InputError: no checkpoint, or its tensors are not those of `like`.
    """
    step = int(read_meta(workdir, which)["step"])
    folder = pathlib.Path(workdir).resolve() / "checkpoints" / which / str(step)
    average = folder / "average"
    source = average if average.is_dir() else folder / "inference"
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    try:
        with ocp.StandardCheckpointer() as reader:
            return reader.restore(source, _like(like, place))
    except (ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            str(folder),
            f"other tensors ({reason})",
            "the networks of the checkpoint's own config",
            "evaluate with the code version that meta/metadata names",
        ) from error
