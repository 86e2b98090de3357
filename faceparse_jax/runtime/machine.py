"""What this machine allows: cores, a home folder, and a place for compiled programs."""

import contextlib
import math
import os
import pathlib
import tempfile

from faceparse_jax.errors import InputError

CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
CACHE_LIMIT = 2**30
"""Bytes of compiled programs that stay when a command starts."""

_CGROUPS, _OWN_CGROUPS = pathlib.Path("/sys/fs/cgroup"), pathlib.Path("/proc/self/cgroup")


def expanded(path: str | pathlib.Path) -> pathlib.Path:
    """A path with the home folder in place of ``~``.

    A local folder may be called ``gs:``. It comes with its whole path, since nothing else tells it
    from a bucket.

    Raises:
        InputError: the path begins with ``~``, and this user has no home folder; it is one of a
            bucket, where only `places.place` may lead.
    """
    if os.fspath(path).startswith("gs:/"):
        raise InputError(
            str(path),
            "a place on a bucket",
            "a local one",
            "copy what is needed with gcloud storage cp --recursive, and name the copy",
        )
    try:
        found = pathlib.Path(path).expanduser()
        return found.absolute() if found.parts[:1] == ("gs:",) else found
    except RuntimeError as error:  # without HOME, and without an entry for the user id
        raise InputError(
            str(path), "no home folder", "one in place of ~", "set HOME, or name a whole path"
        ) from error


def cores(cgroups: pathlib.Path = _CGROUPS, own: pathlib.Path = _OWN_CGROUPS) -> int:
    """The cores that this process may keep busy: those it may run on, within its quota of time.

    Args:
        cgroups: where Linux shows control groups, of version 2 or 1.
        own: the file that says in which of them the process is.
    """
    return max(1, min([_schedulable(), *map(math.ceil, _quotas(cgroups, own))]))


def set_environment() -> None:
    """Sets what JAX and TensorFlow read of the environment when they are imported.

    What is set already stays. Compiled programs are kept where the user's caches lie; where
    nothing can be written there, they are not kept.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # else it tells of it when it is imported
    # TensorFlow would import Keras, which nothing here uses, in a third of the whole time.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    if os.path.expanduser("~") == "~":  # Keras, which TensorFlow brings, would make a folder ~
        os.environ.setdefault("KERAS_HOME", os.path.join(tempfile.gettempdir(), ".keras"))
    if (allowed := cores()) < _schedulable():  # XLA sees no quota
        os.environ.setdefault("PJRT_NPROC", str(allowed))
    # A second start of a small training takes 12 s of a core with it, and 48 s without.
    if CACHE_VARIABLE not in os.environ and (cache := _prepare_cache()):
        os.environ[CACHE_VARIABLE] = str(cache)


def _schedulable() -> int:
    # Only Linux tells which cores a process may use.
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _quotas(cgroups: pathlib.Path, own: pathlib.Path) -> list[float]:
    """How many cores' time each control group above the process may take."""
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:  # no Linux
        return []
    found = []
    for _, controllers, path in lines:
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = cgroups / "cpu" if controllers else cgroups
        # A container sees its own group as the top one, whatever the path.
        group = pathlib.PurePosixPath(path.lstrip("/"))
        for folder in (group, *group.parents):
            try:
                if controllers:
                    names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
                    quota, period = ((top / folder / name).read_text().strip() for name in names)
                else:
                    quota, period = (top / folder / "cpu.max").read_text().split()
                if quota not in ("max", "-1"):
                    found.append(int(quota) / int(period))
            except (OSError, ValueError, ZeroDivisionError):
                continue
    return found


def _prepare_cache() -> pathlib.Path | None:
    """Makes the folder of compiled programs and removes the oldest of too many.

    JAX itself limits the folder only with a package more, filelock.

    Returns:
        The folder, or None where it cannot be written.
    """
    try:
        caches = expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
        folder = caches / "faceparse_jax" / "compiled"
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (InputError, OSError):
        return None
    total = 0
    with contextlib.suppress(OSError):  # another process removes them too
        found = [(path.stat().st_mtime, path.stat().st_size, path) for path in folder.iterdir()]
        for _, size, path in sorted(found, reverse=True):
            total += size
            if total > CACHE_LIMIT:
                path.unlink()
    return folder
