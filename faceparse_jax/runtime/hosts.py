"""Several processes that are one run: one for each host, or for each group of GPUs."""

import socket
import time

from faceparse_jax.errors import InputError
from faceparse_jax.runtime.command_line import Flag

AUTO = "auto"
FLAGS = (
    Flag("coordinator", str, None, f"Several processes: HOST:PORT of process 0, or {AUTO}."),
    Flag("processes", int, None, "How many processes the run has."),
    Flag("process", int, None, "The number of this process, from 0."),
    Flag("coordinator_timeout", int, 300, "Seconds that a process waits for the others."),
)
"""Of the modes that several processes can share."""


def join(
    coordinator: str | None, processes: int | None, process: int | None, coordinator_timeout: int
) -> None:
    """Joins the run's other processes, where the flags name some; returns when all are there.

    Call it before anything asks JAX for its devices.

    Args:
        coordinator: address of process 0 as host:port; ``auto`` where JAX knows the cluster
            (TPU pods, SLURM, Open MPI, GKE) and the numbers with it.
        processes: how many there are.
        process: the number of this one, from 0.
        coordinator_timeout: seconds; where they are over and process 0 waits in vain for another
            one, JAX ends it with status 134.

    Raises:
        InputError: the flags do not fit together, or nothing answers at the address.
    """
    if coordinator is processes is process is None:
        return
    import jax

    if coordinator == AUTO:
        if (processes, process) != (None, None):
            raise _wrong(coordinator, processes, process)
        try:
            jax.distributed.initialize(initialization_timeout=coordinator_timeout)
        except (ValueError, RuntimeError) as error:
            raise InputError(
                "--coordinator=auto",
                " ".join(str(error).split())[:200],
                "a cluster that JAX knows: TPU pod, SLURM, Open MPI, GKE",
                "give --coordinator=HOST:PORT --processes=N --process=I on each host",
            ) from error
        return
    host, _, port = (coordinator or "").rpartition(":")
    numbered = None not in (processes, process) and 0 <= process < processes
    if not host or not port.isdigit() or not numbered:
        raise _wrong(coordinator, processes, process)
    if process:
        # JAX would end this process with a stack trace.
        _wait_for(host, int(port), coordinator_timeout)
    jax.distributed.initialize(
        coordinator, processes, process, initialization_timeout=coordinator_timeout
    )


def all_or_none(error: Exception | None) -> None:
    """Raises the error, and where another process of the run has one, on this process too.

    Every process calls it: where one ended alone, the others would wait for it in vain.

    Raises:
        InputError: another process was refused.
    """
    import jax

    if jax.process_count() > 1:
        import numpy as np
        from jax.experimental import multihost_utils

        failed = np.ravel(multihost_utils.process_allgather(np.array(error is not None)))
        if failed.any() and error is None:
            raise InputError(
                "the run",
                f"process {failed.argmax()} refused",
                "every process to begin",
                "mend what that process says",
            )
    if error is not None:
        raise error


def _wrong(coordinator: str | None, processes: int | None, process: int | None) -> InputError:
    given = (coordinator, processes, process)
    return InputError(
        "--coordinator, --processes, --process",
        ", ".join("nothing" if value is None else str(value) for value in given),
        "HOST:PORT with --processes=N and --process=0..N-1, or auto with neither",
        "start the same command on every host, with its own --process",
    )


def _wait_for(host: str, port: int, timeout: int) -> None:
    until = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > until:
                raise InputError(
                    f"--coordinator={host}:{port}",
                    f"no answer within {timeout} s ({error})",
                    "process 0 of the run",
                    "start the command with --process=0 at that address",
                ) from error
            time.sleep(0.2)
