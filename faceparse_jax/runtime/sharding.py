"""One mesh over all devices; the same code for 1 device, 8 or many hosts."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from faceparse_jax.errors import InputError


def make_mesh(num_devices: int = 0) -> Mesh:
    """A mesh with one axis, ``data``, over the first `num_devices` devices (0 = all).

    Raises:
        InputError: more devices are asked for than there are, or not all of several hosts'.
    """
    devices = jax.devices()
    if jax.process_count() > 1 and num_devices not in (0, len(devices)):
        raise InputError(
            "config.devices",
            f"{num_devices} of {len(devices)} over {jax.process_count()} processes",
            "all of them",
            "set --config.devices=0",
        )
    if num_devices > len(devices):
        raise InputError(
            "config.devices",
            f"{num_devices}",
            f"at most the {len(devices)} devices that JAX sees",
            "set --config.devices=0 to use them all",
        )
    devices = devices[: num_devices or len(devices)]
    # Auto axes: explicit ones refuse some operations over a sharded batch.
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def check_divides(batch: int, mesh: Mesh, key: str) -> None:
    """Raises InputError unless the global batch splits evenly over the mesh."""
    if batch < 1 or batch % mesh.size:
        multiple = max(mesh.size, batch // mesh.size * mesh.size)
        raise InputError(
            f"config.{key}",
            f"{batch}",
            f"a positive multiple of the {mesh.size} devices",
            f"set --config.{key}={multiple} or --config.devices to a divisor of the batch",
        )


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def by_row(mesh: Mesh) -> NamedSharding:
    """The first axis is split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Arrays that every process holds, on every device of the mesh."""
    # By way of the host: an array of one process cannot be put on the devices of all.
    return jax.device_put(jax.device_get(tree), replicated(mesh))


def shard(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This host's rows of a batch as global arrays, split over the mesh."""
    rows = by_row(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(rows, x), batch)


def own_rows(tree: PyTree) -> PyTree:
    """This host's rows of global arrays that are split as `shard` splits them."""

    def rows(x):
        shards = sorted(x.addressable_shards, key=lambda part: part.index[0].start or 0)
        return np.concatenate(jax.device_get([part.data for part in shards]))

    return jax.tree.map(rows, tree)


def shard_padded(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """As `shard`, the last row repeated up to a multiple of this host's devices.

    Those rows have a ``mask`` of False: they do not count.
    """
    rows = len(batch["mask"])
    missing = -rows % len(mesh.local_devices)

    if missing:
        batch = {k: np.concatenate([v, np.repeat(v[-1:], missing, 0)]) for k, v in batch.items()}
        batch["mask"][rows:] = False
    return shard(batch, mesh)


def is_lead() -> bool:
    """True on the one process that writes files and prints."""
    return jax.process_index() == 0
