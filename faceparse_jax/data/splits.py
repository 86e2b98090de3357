"""The folder of a prepared dataset: what is known of it without reading its records."""

import dataclasses
import hashlib
import os
from typing import Any

from faceparse_jax import labels
from faceparse_jax.errors import InputError
from faceparse_jax.labels import Scheme
from faceparse_jax.runtime import places
from faceparse_jax.runtime.places import Place

HEADS = "synthetic_heads"
"""The dataset of rendered heads."""


@dataclasses.dataclass(frozen=True)
class Split:
    """One split of a prepared dataset.

    Attributes:
        num_examples: 0 where they come without end.
        with_depth: examples that have depth.
        depth_bits: 8 or 16, of the prepared depth.
        label_size: height and width of the prepared labels, None where they vary.
        fingerprint: equal for equal features, metadata and record files (by name and
            size), so that a run can refuse to go on with other data.
    """

    name: str
    config: str
    split: str
    version: str
    directory: Place
    num_examples: int
    with_depth: int
    scheme: Scheme
    merge_order: str
    depth_source: str
    depth_bits: int
    label_size: tuple[int, int] | None
    fingerprint: str

    def record(self) -> dict[str, Any]:
        """What checkpoints and results say of the dataset."""
        return {
            "name": self.name,
            "config": self.config,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "merge_order": self.merge_order,
            "depth_source": self.depth_source,
            **labels.as_data(self.scheme),
        }


def build_command(name: str, config: str, data_dir: str | os.PathLike) -> str:
    """What to run to prepare a dataset."""
    command = f"python -m tfds_builders.build --name {name} --config {config} --data_dir {data_dir}"
    if name == HEADS:
        return command
    return f"{command} --manual_dir FOLDER_WITH_THE_ARCHIVES"


def newest_version(name: str, config: str, data_dir: str | os.PathLike) -> Place:
    """The folder ``data_dir/name/config/version`` of the highest version.

    Raises:
        InputError: the dataset is not prepared, or lies on a bucket that cannot be read.
    """
    root = places.place(data_dir, "config.data.data_dir") / name / config
    versions = {
        tuple(int(n) for n in path.parent.name.split(".")): path.parent
        for path in _paths(root, "*.*.*/dataset_info.json")
        if path.parent.name.replace(".", "").isdigit()
    }
    if not versions:
        raise _not_prepared(root, f"{name}/{config}", build_command(name, config, data_dir))
    return versions[max(versions)]


def decoded(directory: Place, size: int, split: str) -> Place:
    """Where the arrays of a split lie that were decoded at this size."""
    return directory / f"arrays_{size}" / split


def prepared_configs(name: str, data_dir: str | os.PathLike) -> list[str]:
    """The configs of a dataset that are prepared.

    Raises:
        InputError: none is, or they lie on a bucket that cannot be read.
    """
    root = places.place(data_dir, "config.data.data_dir") / name
    found = sorted({path.parent.parent.name for path in _paths(root, "*/*.*.*/dataset_info.json")})
    if not found:
        raise _not_prepared(root, "at least one config", build_command(name, "C", data_dir))
    return found


def _paths(root: Place, pattern: str) -> list[Place]:
    try:
        return list(root.glob(pattern))
    except Exception as error:  # of any library that a bucket needs
        if told := places.failed(root, error):
            raise told from error
        raise


def _not_prepared(root: Place, expected: str, command: str) -> InputError:
    return InputError(
        str(root if places.on_bucket(root) else root.absolute()),
        "no prepared dataset",
        expected,
        f"{command}; or, where it lies elsewhere, --config.data.data_dir=FOLDER to train, the same "
        "behind --config FILE to evaluate or replay, and --config.base.data.data_dir=FOLDER in a "
        "study",
    )


def fingerprint(directory: Place) -> str:
    """16 hexadecimal digits, see `Split`."""
    digest = hashlib.sha256(directory.name.encode())
    for path in sorted(directory.iterdir()):
        if path.name in ("features.json", "metadata.json"):
            digest.update(path.read_bytes())
        elif path.is_file() and path.suffix != ".json":
            digest.update(f"{path.name} {places.size(path)}\n".encode())
    return digest.hexdigest()[:16]
