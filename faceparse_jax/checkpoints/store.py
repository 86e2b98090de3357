"""Saving and restoring runs; the only file that imports orbax.

A workdir holds ``checkpoints/last`` (the latest few, whole states, to resume from) and
``checkpoints/best`` (the one with the best validation score, for inference). Both keep
what inference needs in an item of its own, so that it is restored without optimiser
state and strictly: a missing, surplus or misshaped tensor is an error.
"""

import contextlib
import shutil
import sys
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh

from faceparse_jax.checkpoints.state import TrainState
from faceparse_jax.errors import InputError
from faceparse_jax.runtime import places, records
from faceparse_jax.runtime.command_line import COMMAND
from faceparse_jax.runtime.places import Place
from faceparse_jax.runtime.provenance import checksum
from faceparse_jax.runtime.sharding import is_lead, replicated

Meta = dict[str, Any]

META = {"config": dict, "dataset": dict, "step": int, "seed": int, "code_version": str}
"""What every meta has, and of which type."""

_UNNAMED = ".orbax-checkpoint-tmp"
"""In the name of a folder until all of a checkpoint is written, when it loses this end."""
_WHOLE = "commit_success.txt"
"""In a checkpoint whose parts are all written, which may not have its name yet."""

_FULL_DISK = 2**26  # bytes; no checkpoint fits


def disk_is_full(workdir: Place, error: Exception) -> bool:
    """Whether the disk has no room, by what failed or by what is left."""
    if places.on_bucket(workdir):
        return False
    there = next(place for place in (workdir, *workdir.absolute().parents) if place.exists())
    return "No space left" in str(error) or shutil.disk_usage(there).free < _FULL_DISK


def full_disk(workdir: Place) -> InputError:
    """What to tell where the disk has no room."""
    return InputError(
        str(workdir),
        "a full disk",
        "room for checkpoints",
        "make room and run the same command; what was finished is kept",
    )


@contextlib.contextmanager
def told_full_disk(workdir: Place):
    """Tells what to do where a full disk made something fail, or a bucket did not answer.

    Raises:
        InputError: the disk is full, or the bucket did not do what it was asked to.
    """
    try:
        yield
    except Exception as error:  # a write in the background fails with any of several
        if not isinstance(error, InputError) and (told := places.failed(workdir, error)):
            raise told from error
        if isinstance(error, InputError) or not disk_is_full(workdir, error):
            raise
        raise full_disk(workdir) from error


def saved_steps(workdir: Place, which: str) -> dict[int, Place]:
    """The folders of a run's ``best`` or ``last`` checkpoints, by step.

    A copy may have a checkpoint by the name that it has until it is written. It counts where it
    is whole. Whatever else lies there is not looked at.
    """
    found: dict[int, Place] = {}
    folder = workdir / "checkpoints" / which
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        step, unnamed, _ = path.name.partition(_UNNAMED)
        if not (step.isdecimal() and step == str(int(step)) and path.is_dir()):
            continue
        # On a bucket it has its name from the start.
        if (not unnamed and not places.on_bucket(path)) or (
            (path / _WHOLE).is_file() and int(step) not in found
        ):
            found[int(step)] = path
    return found


def name_whole(workdir: Place) -> None:
    """Gives the whole checkpoints of a workdir the names by which they are found."""
    for which in ("last", "best"):
        for step, path in saved_steps(workdir, which).items():
            if path.name != str(step):
                path.rename(path.with_name(str(step)))


def _manager(directory: Place, keep: int, read_only: bool):
    options = ocp.CheckpointManagerOptions(
        max_to_keep=None if read_only else keep, read_only=read_only, create=not read_only
    )
    return ocp.CheckpointManager(places.resolved(directory), options=options)


def _inference(state: TrainState) -> dict:
    return {"params": state.params, "batch_stats": state.batch_stats}


class Checkpoints:
    """The checkpoints of one run; a context manager that waits for pending writes.

    Args:
        workdir: the run's folder.
        keep: how many of the latest checkpoints stay.
        read_only: for a look at the checkpoints of a run.
    """

    def __init__(self, workdir: Place, keep: int, read_only: bool = False):
        self._folder = workdir / "checkpoints"
        self._read_only = read_only
        self._last = _manager(self._folder / "last", keep, read_only)
        # Kept apart: a best-score policy in one manager would drop the latest step.
        self._best = _manager(self._folder / "best", 1, read_only)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self._told():
            self._last.close()
            self._best.close()

    def _told(self):
        return told_full_disk(self._folder.parent)

    def has_best(self, step: int) -> bool:
        """Whether the best checkpoint is there, of this step or of one that was better later."""
        return any(there >= step for there in self._best.all_steps())

    def wait(self) -> None:
        """Returns when everything is written.

        Raises:
            InputError: the disk is full; so do `save` and `save_best`.
        """
        with self._told():
            self._last.wait_until_finished()
            self._best.wait_until_finished()

    def save(self, state: TrainState, meta: Meta) -> None:
        """Writes a whole state in the background."""
        step = int(state.step)
        if step in self._last.all_steps():
            return
        trees = self._trees(state)
        saves = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
        meta = ocp.args.JsonSave(meta | {"step": step, "sha256": _checksums(trees)})
        with self._told():
            # A resumed run believes meta, so the best checkpoint that it names is written first.
            self._best.wait_until_finished()
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
        trees = {"inference": state.ema or _inference(state)}
        args = ocp.args.Composite(
            inference=ocp.args.StandardSave(trees["inference"]),
            meta=ocp.args.JsonSave(meta | {"step": step, "sha256": _checksums(trees)}),
        )
        with self._told():
            self._best.save(step, args=args)

    def restore(
        self, state: TrainState, mesh: Mesh, before: int | None = None
    ) -> tuple[TrainState, Meta] | None:
        """The latest state that opens, laid out over `mesh`, and its meta.

        Checkpoints that do not open, or whose values are not those that were written, are
        named on standard error and, when an older one opens, moved to
        ``checkpoints/damaged``. On a bucket, whatever else keeps one from being read ends the
        restore, since the checkpoint may be good.

        Args:
            state: a state, or its shapes, of the same networks and optimisers.
            before: only checkpoints of steps below this one.

        Returns:
            None where there is no checkpoint.

        Raises:
            InputError: there are some and none opens, or a bucket did not let one be read.
        """
        steps = sorted(self._last.all_steps(), reverse=True)
        steps = [step for step in steps if before is None or step < before]
        damaged: dict[int, str] = {}
        for step in steps:
            try:
                restored = self._restore(step, state, mesh)
            except Exception as error:  # orbax has no one exception for damage
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                if places.on_bucket(self._folder) and not (
                    isinstance(error, InputError) or places.lost(error)
                ):
                    raise InputError(
                        str(self._folder / "last" / str(step)),
                        reason,
                        "a checkpoint that opens",
                        "run the same command when the bucket answers, with the code version that "
                        "began the run",
                    ) from error
                damaged[step] = reason
                continue
            for bad, reason in damaged.items():
                self._set_aside(bad, reason, step)
            return restored
        if damaged:
            told = "; ".join(f"step {step}: {reason}" for step, reason in damaged.items())
            raise InputError(
                str(self._folder / "last"),
                f"no checkpoint that opens ({told})",
                "one of this run's networks and code version",
                f"go on with the code version that began the run, or remove {self._folder} to "
                "start anew",
            )
        return None

    def _set_aside(self, step: int, reason: str, instead: int) -> None:
        folder = self._folder / "last" / str(step)
        target = self._folder / "damaged" / str(step)
        if is_lead():
            print(
                f"warning: {folder} is damaged ({reason}); going on from step {instead}"
                + ("" if self._read_only else f", it is moved to {target}"),
                file=sys.stderr,
            )
        if self._read_only:
            return
        if is_lead():
            if places.on_bucket(target):
                target.rmtree(missing_ok=True)
                folder.rename(target)
            else:
                shutil.rmtree(target, ignore_errors=True)
                target.parent.mkdir(exist_ok=True)
                shutil.move(folder, target)
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices(f"damaged checkpoint {step}")
        self._last.reload()

    def _restore(self, step: int, state: TrainState, mesh: Mesh) -> tuple[TrainState, Meta]:
        place = replicated(mesh)
        targets = {
            name: ocp.args.StandardRestore(_like(tree, place))
            for name, tree in self._trees(state).items()
        }
        restored = self._last.restore(
            step, args=ocp.args.Composite(**targets, meta=ocp.args.JsonRestore())
        )
        trees = {name: restored[name] for name in targets}
        _check(trees, restored["meta"], str(self._folder / "last" / str(step)))
        whole = TrainState(
            step=jax.device_put(np.int32(step), place),
            **restored["inference"],
            opt_state=restored["opt_state"],
            ema=restored["average"] if state.ema else {},
        )
        return whole, restored["meta"]


def _checksums(trees: dict[str, Any]) -> dict[str, str]:
    return {name: checksum(tree) for name, tree in trees.items()}


def _check(trees: dict[str, Any], meta: Meta, where: str) -> None:
    """Raises InputError where values are not those that were saved.

    The files' own format would read flipped bytes as other numbers.
    """
    for name, value in meta.get("sha256", {}).items():
        if name in trees and checksum(trees[name]) != value:
            raise InputError(
                f"{where}/{name}",
                "other values than were written",
                f"SHA-256 {value}",
                "use another checkpoint of the run",
            )


def _check_shapes(stored: Any, like: Any) -> None:
    """Raises ValueError where tensors are missing, surplus, or of other shapes than `like`'s."""

    def shapes(tree):
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {jax.tree_util.keystr(path): tuple(leaf.shape) for path, leaf in leaves}

    there, wanted = shapes(stored), shapes(like)
    for name in sorted(there.keys() | wanted.keys()):
        if there.get(name) != wanted.get(name):
            raise ValueError(f"{name} is {there.get(name)}, not {wanted.get(name)}")


def _like(tree: Any, place: jax.sharding.Sharding) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)


def read_meta(workdir: Place, which: str = "best") -> Meta:
    """The meta of a run's ``best`` or ``last`` checkpoint.

    Raises:
        InputError: the workdir holds no such checkpoint, or one without a meta.
    """
    steps = saved_steps(workdir, which)
    if not steps:
        train = f"train first: {COMMAND} --config configs/X.py --workdir {workdir}"
        there = saved_steps(workdir, _OTHER[which])
        raise InputError(
            str(workdir / "checkpoints" / which),
            "no checkpoint",
            "a trained run",
            _other_checkpoint(which) if there else train,
        )
    path = steps[max(steps)] / "meta" / "metadata"
    meta = records.read(path, "the meta of a checkpoint", _other_checkpoint(which), **META)
    if not isinstance(meta.get("sha256", {}), dict):
        raise InputError(
            str(path), "no checksums by name", "the meta of a checkpoint", _other_checkpoint(which)
        )
    return meta


_OTHER = {"best": "last", "last": "best"}


def _other_checkpoint(which: str) -> str:
    return f"add --checkpoint={_OTHER[which]}, or resume the run to write it anew"


def load_inference(workdir: Place, like: Any, which: str = "best") -> dict[str, dict]:
    """Parameters and statistics of a checkpoint, strictly in the form of `like`.

    Args:
        workdir: the run's folder.
        like: shapes of ``{'params', 'batch_stats'}``, by network.
        which: ``best`` or ``last``.

    Raises:
        InputError: no checkpoint, or its tensors are not those of `like`.
    """
    meta = read_meta(workdir, which)
    step = int(meta["step"])
    folder = workdir / "checkpoints" / which / str(step)
    folder = places.resolved(saved_steps(workdir, which).get(step, folder))
    # By what was written, not by what is there: a lost average must not pass unnoticed.
    written = meta.get("sha256") or {path.name: "" for path in folder.iterdir()}
    source = folder / ("average" if "average" in written else "inference")
    place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    try:
        with ocp.StandardCheckpointer() as reader:
            # Before the read: one that fails leaves others that go on and complain.
            _check_shapes(ocp.StandardCheckpointHandler().metadata(source).tree, like)
            tree = reader.restore(source, _like(like, place))
    except Exception as error:  # orbax has no one exception for damage
        if told := places.unanswered(folder, error):
            raise told from error
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            str(folder),
            f"other or damaged tensors ({reason})",
            "the networks of the checkpoint's own config",
            f"{_other_checkpoint(which)}, or use the code version that meta/metadata names",
        ) from error
    _check({source.name: tree}, meta, str(folder))
    return tree
