"""Where a run or prepared data lie: a local folder, or one on a bucket of Google Cloud Storage.

A local folder is a `pathlib.Path`. One on a bucket, ``gs://BUCKET/NAME``, is a path of
`etils.epath`, which TFDS and Orbax read and write as well, and which has most of the same methods.
A bucket has no locks and no folders. What is written there appears whole when it is closed, and
nothing can be appended to it.
"""

import contextlib
import datetime
import functools
import importlib.util
import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from faceparse_jax.errors import InputError, not_installed
from faceparse_jax.runtime import machine

Place = pathlib.PurePath
"""A `pathlib.Path`, or an `etils.epath.Path` on a bucket."""

PACKED = ".safetensors"
"""How the name of a packed file ends."""

# As pathlib writes it, too.
_SCHEME = re.compile(r"gs:/+")
_READS = ("storage.objects.get", "storage.objects.list")
_WRITES = (*_READS, "storage.buckets.get", "storage.objects.create", "storage.objects.delete")
_SECONDS = 30  # that a bucket may need to answer
# Not google.protobuf, which tells of damaged files.
_LIBRARIES = (
    "tensorflow.",
    "google.api_core.",
    "google.auth.",
    "google.cloud.",
    "google.resumable_media.",
)
# TensorStore has no errors of its own, but a ValueError that begins with one of these.
_LOST = "NOT_FOUND|OUT_OF_RANGE|DATA_LOSS"
_STATUS = re.compile(
    f"({_LOST}|CANCELLED|UNKNOWN|INVALID_ARGUMENT|DEADLINE_EXCEEDED|ALREADY_EXISTS|ABORTED"
    "|PERMISSION_DENIED|UNAUTHENTICATED|RESOURCE_EXHAUSTED|FAILED_PRECONDITION|UNIMPLEMENTED"
    "|INTERNAL|UNAVAILABLE): "
)
# What TensorFlow and Google's client call the same.
_LOST_TYPES = (
    "NotFoundError",
    "OutOfRangeError",
    "DataLossError",
    "InvalidArgumentError",  # a record or a picture that cannot be decoded
    "NotFound",
)


def on_bucket(path: str | os.PathLike) -> bool:
    """Whether a path is one of Google Cloud Storage."""
    return bool(_SCHEME.match(os.fspath(path)))


def place(path: str | os.PathLike, what: str, writes: bool = False) -> Place:
    """The place that a user names, with the home folder in place of ``~``.

    A bucket is asked whether it is there and gives the rights that are needed.

    Args:
        what: the flag or key that names it.
        writes: whether something will be written there.

    Raises:
        InputError: a bucket that does not answer or denies the rights, a library that buckets
            need and that is missing, or no home folder.
    """
    if not on_bucket(path):
        return machine.expanded(path)
    from etils import epath

    address = _SCHEME.sub("gs://", os.fspath(path), count=1)
    name, _, rest = address.removeprefix("gs://").partition("/")
    if not name or not rest.strip("/"):
        raise InputError(
            f"{what} {path}", "no folder of a bucket", "gs://BUCKET/FOLDER", "name a folder, too"
        )
    _check_rights(name, _WRITES if writes else _READS, f"{what} {address}")
    return epath.Path(address)


def is_packed(path: Place) -> bool:
    """Whether a workdir's name is that of a packed file, `checkpoints.packed`."""
    return path.suffix == PACKED


def resolved(path: Place) -> Place:
    """A path from the root without links; epath would take one on a bucket for a relative path."""
    return path if on_bucket(path) else path.resolve()


def size(path: Place) -> int:
    """The bytes of a file."""
    there = path.stat()
    return there.length if hasattr(there, "length") else there.st_size


def write(path: Place, data: bytes) -> None:
    """Writes a file so that a reader never sees a part of it."""
    if on_bucket(path):
        path.write_bytes(data)
        return
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.replace(path)


def append(path: Place, data: bytes) -> None:
    """Appends to a file on a bucket, where several processes may do so at the same time."""
    note = Note(path)
    while True:  # each turn that is lost is one that another process won
        found = note.read()
        if note.write_bytes((found[0] if found else b"") + data):
            return


def failed(path: Place, error: Exception) -> InputError | None:
    """What to tell of an error of a bucket's libraries; None for another error, or a local path."""
    if not on_bucket(path) or not _of_bucket(error):
        return None
    return InputError(
        str(path),
        _reason(error),
        "a bucket that answers",
        "run the same command when the bucket answers; what was finished is kept",
    )


def _of_bucket(error: Exception) -> bool:
    if isinstance(error, OSError):  # to which epath turns some, and requests all of its own
        return not error.filename or on_bucket(error.filename)
    if isinstance(error, ValueError) and (_STATUS.match(str(error)) or "gs://" in str(error)):
        return True
    return f"{type(error).__module__}.".startswith(_LIBRARIES)


def lost(error: Exception) -> bool:
    """Whether an error says that what a bucket holds is missing, cut or not of its format.

    Others, such as a timeout or a right that is denied, say nothing of what it holds.
    """
    if isinstance(error, FileNotFoundError | json.JSONDecodeError):
        return True
    if isinstance(error, ValueError):
        return bool(re.match(f"({_LOST}): ", str(error)))
    return type(error).__name__ in _LOST_TYPES


def unanswered(path: Place, error: Exception) -> InputError | None:
    """As `failed`, but None also for an error that may tell of damage."""
    if lost(error) or (isinstance(error, ValueError) and not _STATUS.match(str(error))):
        return None
    return failed(path, error)


def _reason(error: Exception) -> str:
    told = re.sub(r"(GET|POST|PUT|DELETE) https?://\S+", "", str(error))  # long, and no reason
    return " ".join(told.split())[:300] or type(error).__name__


@functools.cache
def _bucket(name: str):
    """The bucket, for what epath cannot do."""
    from google.cloud import storage  # which Orbax asks, too

    return storage.Client().bucket(name)


@functools.cache
def _check_rights(bucket: str, rights: tuple[str, ...], what: str) -> None:
    if not importlib.util.find_spec("tensorflow"):  # by which epath reads and writes
        raise not_installed(what, "tensorflow", "data")
    try:
        from google.cloud.storage.retry import DEFAULT_RETRY

        allowed = _bucket(bucket).test_iam_permissions(
            rights, timeout=_SECONDS, retry=DEFAULT_RETRY.with_timeout(_SECONDS)
        )
    except ModuleNotFoundError as error:
        raise not_installed(what, error.name, "bucket") from error
    except Exception as error:  # of the account, of the network, of the service
        raise InputError(
            what,
            _reason(error),
            "a bucket that answers",
            "check its name, and run gcloud auth application-default login",
        ) from error
    if missing := [right for right in rights if right not in allowed]:
        raise InputError(
            what,
            f"no right to {', '.join(missing)}",
            "an account that may " + ("read and write" if rights == _WRITES else "read"),
            f"give it roles/storage.objectUser and roles/storage.legacyBucketReader on gs://{bucket}"
            " with gcloud storage buckets add-iam-policy-binding",
        )


class Note:
    """An object on a bucket that is written only where nobody else did: the bucket says it."""

    def __init__(self, path: Place):
        name, _, rest = os.fspath(path).removeprefix("gs://").partition("/")
        self._bucket, self._name, self._generation = _bucket(name), rest, 0

    def write(self, value: Mapping[str, Any]) -> bool:
        """Writes JSON, as `write_bytes`."""
        return self.write_bytes((json.dumps(value, indent=1) + "\n").encode())

    def write_bytes(self, data: bytes) -> bool:
        """Whether it is written: where there was none, or again where nobody else wrote since."""
        from google.api_core.exceptions import PreconditionFailed

        blob = self._bucket.blob(self._name)
        try:
            blob.upload_from_string(data, if_generation_match=self._generation)
        except PreconditionFailed:
            return False
        self._generation = blob.generation
        return True

    def read(self) -> tuple[bytes, float] | None:
        """What it holds, and the seconds since it was written, by this host's clock.

        None where it is gone.
        """
        from google.api_core.exceptions import NotFound

        self._generation = 0
        try:
            blob = self._bucket.get_blob(self._name)
            if blob is None:
                return None
            text = blob.download_as_bytes(if_generation_match=blob.generation)
        except NotFound:
            return None
        self._generation = blob.generation
        return text, (datetime.datetime.now(datetime.UTC) - blob.updated).total_seconds()

    def remove(self) -> None:
        """Removes it, unless another one is in the place of the one that was written or read."""
        from google.api_core.exceptions import NotFound, PreconditionFailed

        with contextlib.suppress(NotFound, PreconditionFailed):
            self._bucket.blob(self._name).delete(if_generation_match=self._generation)
        self._generation = 0
