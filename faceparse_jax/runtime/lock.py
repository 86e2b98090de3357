"""One command at a time writes in a folder: a file in it names the process that does."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from faceparse_jax.errors import InputError
from faceparse_jax.runtime import places
from faceparse_jax.runtime.places import Place

LOCK = "faceparse_jax.lock"
"""In the folder, while a process writes there: its id, its host and since when."""

# A file system that has no locks between processes says so with one of these.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
# More than holders that end at the same moment: some file systems cannot tell files apart.
_ATTEMPTS = 10
# On a bucket, in seconds. A host that is taken away at once leaves its lock behind.
_RENEWED_EACH, _GIVEN_UP_AFTER = 60, 300


@contextlib.contextmanager
def locked(folder: Place, flag: str = "--workdir") -> Iterator[None]:
    """Keeps other processes from writing in a folder, which is made where there is none.

    The operating system ends the lock with the process, however that ends, and on every file
    system that has such locks. The file tells who holds it. It counts by itself where the file
    system has none, and for processes of other hosts, which a lock may not reach. On a bucket
    there is nothing but such a file, which is written again each minute. Where it was not for five
    minutes, its process has ended.

    Args:
        flag: what errors call the flag that chose the folder.

    Raises:
        InputError: another process holds the lock, or may hold it on another host; the folder
            cannot be written.
    """
    path = folder / LOCK
    if places.on_bucket(folder):
        with _noted(path, flag):
            yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _opened(path, flag)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        at = f" ({path})" if os.path.lexists(path) else ""
        raise InputError(
            f"{flag} {folder}",
            f"{error.strerror}{at}",
            "a folder to write to",
            f"choose another {flag}, or change its permissions",
        ) from error
    text = (json.dumps(_this_process(), indent=1) + "\n").encode()
    try:
        os.truncate(file, 0)
        os.pwrite(file, text, 0)
        os.fsync(file)
        yield
    finally:
        # Removed before it is given up, and only where nobody put another one there.
        with contextlib.suppress(FileNotFoundError):
            if path.read_bytes() == text:
                path.unlink()
        os.close(file)


@contextlib.contextmanager
def _noted(path: Place, flag: str) -> Iterator[None]:
    """Holds a folder of a bucket by an object that says who does."""
    note, own = places.Note(path), _this_process() | {"key": secrets.token_hex(8)}
    for _ in range(_ATTEMPTS):
        if note.write(own):
            break
        if (found := note.read()) is None:
            continue  # its holder has just removed it
        holder, age = _holder(found[0]), found[1]
        if holder == own:
            break  # it was written, and the answer that says so was lost
        if age < _GIVEN_UP_AFTER and (not holder or _may_live(holder, unlocked=False)):
            raise _refusal(path, flag, holder, f"wait {_GIVEN_UP_AFTER} s where that one has ended")
        note.remove()
    else:
        raise _refusal(path, flag, {}, "wait until it ends")
    done = threading.Event()
    renewal = threading.Thread(target=_renew, args=(note, own, path, done), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        done.set()
        renewal.join()
        note.remove()


def _renew(note: places.Note, own: dict[str, Any], path: Place, done: threading.Event) -> None:
    """Says each minute that this process lives, and ends it where it has lost its place.

    Another process takes the place of one that was suspended, and may have ended since.
    """
    while not done.wait(_RENEWED_EACH):
        try:
            if note.write(own):
                continue
            found = note.read()
        except Exception:  # the network fails; the bucket is asked again in a minute
            continue
        if not found or _holder(found[0]) != own:
            print(
                f"error: {path}: found {'the lock of another process' if found else 'no lock'}, "
                f"expected this one's, which was not heard of for {_GIVEN_UP_AFTER} s; next: "
                + ("leave the run to that process" if found else "run the same command"),
                file=sys.stderr,
            )
            os._exit(InputError.exit_status)


def _opened(path: pathlib.Path, flag: str) -> int:
    """The file, locked."""
    for attempt in range(_ATTEMPTS):
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            free = _lock(file)
            holder = _holder(os.pread(file, 4096, 0))
            if free is False or (holder and _may_live(holder, unlocked=free is True)):
                next_step = "wait until it ends"
                if holder and free is not False and holder["host"] != socket.gethostname():
                    next_step = f"remove {path} where that process has ended"
                raise _refusal(path, flag, holder, next_step)
            # Another one is there where the holder removed its own after it was opened here.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), path.stat()) or attempt == _ATTEMPTS - 1:
                    return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def _lock(file: int) -> bool | None:
    """Whether the lock was free; None where the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _this_process() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "boot": _boot(),
        "started": _started(os.getpid()),
    }


def _holder(text: bytes) -> dict[str, Any]:
    """What the file says of its process; empty where it says nothing."""
    try:
        found = json.loads(text)
        return found if isinstance(found["pid"], int) and isinstance(found["host"], str) else {}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}  # a kill fell into the write


def _may_live(holder: dict[str, Any], unlocked: bool) -> bool:
    """Whether a process that left the file may still write.

    Args:
        unlocked: whether the operating system says that none of its processes holds the lock.
    """
    boot, here = holder.get("boot"), holder["host"] == socket.gethostname()
    if here and boot != _boot():
        return False  # the host was restarted since
    # Containers of one machine have hosts of their own, and one kernel, which knows the lock.
    if unlocked and (here or (boot and boot == _boot())):
        return False
    return not here or _runs(holder)


def _runs(holder: dict[str, Any]) -> bool:
    """Whether a process of this host lives and is not another one with the same id."""
    try:
        os.kill(holder["pid"], 0)
    except PermissionError:
        pass
    except (OSError, OverflowError):
        return False
    return holder.get("started") == _started(holder["pid"])


def _boot() -> str | None:
    """What the kernel calls the time since its start; None where it does not tell."""
    with contextlib.suppress(OSError):
        return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None


def _started(pid: int) -> int | None:
    """The start of a process in ticks of the kernel; None where it does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        # The name, in parentheses, may hold spaces.
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return None


def _refusal(path: Place, flag: str, holder: dict[str, Any], next_step: str) -> InputError:
    """What to tell of who holds the lock."""
    who = "a process that works in it"
    if holder:
        since = holder.get("since")
        who = f"process {holder['pid']} on {holder['host']}, which works in it since {since}"
    return InputError(
        str(path.parent),
        who,
        "a folder in which no other process works",
        f"{next_step}, or choose another {flag}",
    )
