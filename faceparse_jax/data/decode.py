"""Decodes a prepared dataset once into memory-mapped files.

    python -m faceparse_jax.data.decode --name celebamask_hq_d --config official --size 256

For sets that fit on a fast disk or in memory, and for machines without TensorFlow: copy
the dataset's folder there and train with --config.data.source=arrays.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import sys

import numpy as np

from faceparse_jax.config import inside, interval
from faceparse_jax.data.reader import Reader
from faceparse_jax.errors import InputError, not_installed
from faceparse_jax.runtime import interrupts, machine, progress

EXIT_BAD_INPUT = 2
_BATCH = 16


def write(name: str, config: str, data_dir: pathlib.Path, size: int) -> list[pathlib.Path]:
    """Writes the arrays of every split and returns their folders; finished ones are kept.

    Raises:
        InputError: the dataset is not prepared, the disk is full, or there is no TensorFlow.
    """
    # Here, so that --help answers without TensorFlow.
    try:
        from faceparse_jax.data import arrays_reader, tfds_files, tfds_reader
    except ModuleNotFoundError as error:
        raise not_installed("faceparse_jax.data.decode", error.name, "data") from error

    written = []
    for split in tfds_files.open_splits(name, config, data_dir):
        target = arrays_reader.folder(split, size)
        written.append(target)
        if not target.exists():
            try:
                with interrupts.held():
                    _write_split(tfds_reader.TfdsReader(split, size), size, target)
            except OSError as error:
                raise InputError(
                    str(target), str(error), "room for the arrays", "make room and run again"
                ) from error
    return written


def _write_split(reader: Reader, size: int, target: pathlib.Path) -> None:
    from faceparse_jax.data import arrays_reader, tfds_files

    # Written beside the target, so that a killed run leaves nothing that opens.
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    split = reader.split
    try:
        out = {
            key: np.lib.format.open_memmap(
                partial / f"{key}.npy", mode="w+", dtype=dtype, shape=shape
            )
            for key, (shape, dtype) in arrays_reader.shapes(split, size).items()
        }
        for key in out:
            # A sparse file would kill the process where the disk is full, not raise.
            with open(partial / f"{key}.npy", "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        total = -(-split.num_examples // _BATCH)
        batches = progress.bar(reader.evaluate(_BATCH), split.split, total, "batches")
        for batch in interrupts.stoppable(batches):
            for key, array in out.items():
                array[batch["index"][batch["mask"]]] = batch[key][batch["mask"]]
        for array in out.values():
            array.flush()
        encoded = tfds_files.encoded_labels(split)
        (partial / "label_png.bin").write_bytes(b"".join(encoded))
        np.save(partial / "label_png.npy", np.cumsum([len(label) for label in encoded]))
        record = arrays_reader.as_json(split, reader.ids)
        (partial / "split.json").write_text(json.dumps(record))
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        with contextlib.suppress(OSError):  # other splits may be there
            partial.parent.rmdir()
        raise
    os.replace(partial, target)


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m faceparse_jax.data.decode", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--name", required=True, help="the dataset")
    parser.add_argument("--config", required=True, help="its config")
    parser.add_argument("--size", type=int, required=True, help="side in pixels")
    parser.add_argument("--data_dir", default="~/tensorflow_datasets")
    options = parser.parse_args(argv)
    machine.set_environment()  # before TensorFlow is imported
    if not inside(options.size, interval("data.size")):
        parser.error(f"--size: found {options.size}, expected at least 16 pixels, at most 8192")
    try:
        folders = write(
            options.name, options.config, machine.expanded(options.data_dir), options.size
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    for folder in folders:
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{folder}  {size / 2**20:,.0f} MiB")
    print(f"next: add --config.data.source=arrays --config.data.size={options.size}")
    return 0


if __name__ == "__main__":
    interrupts.run(main)
