"""Builds a dataset once, from its files to records that training reads.

    python -m tfds_builders.build --list
    python -m tfds_builders.build --name celebamask_hq_d --manual_dir D --check
    python -m tfds_builders.build --name celebamask_hq_d --manual_dir D [--config C] [--data_dir E]
    python -m tfds_builders.build --name folder --manual_dir MYDATA [--config NAME_OF_YOUR_SET]

A build that fails or is stopped leaves nothing that loads.
"""

import argparse
import contextlib
import importlib
import io
import logging
import os
import pathlib
import re
import shutil
import sys
import tempfile

# Before the builders import TensorFlow, against lines about its own build.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from faceparse_jax.errors import InputError, not_installed
from faceparse_jax.runtime import interrupts, machine, places
from faceparse_jax.runtime.places import Place

EXIT_BAD_INPUT = 2
_HERE = pathlib.Path(__file__).parent
_DATA_DIR = "~/tensorflow_datasets"
OWN = "folder"
"""The builder of a user's own photographs, whose configs are names that the user chooses."""
_OF_DEPTH = ("depth", "e2e", "mutual", "translation")
"""Terms of the loss that photographs without depth do not need."""
_CONFIG_NAME = r"[A-Za-z0-9_-]{1,40}"


def names() -> list[str]:
    """Every builder beside this file."""
    return sorted(path.parent.name for path in _HERE.glob("*/*_dataset_builder.py"))


def builder_class(name: str) -> type:
    """The TFDS builder of that name.

    Raises:
        InputError: no such builder, or no TFDS.
    """
    if name not in names():
        raise InputError(
            f"--name {name}",
            "no such dataset",
            f"one of {', '.join(names())}",
            "run python -m tfds_builders.build --list",
        )
    try:
        return importlib.import_module(f"tfds_builders.{name}.{name}_dataset_builder").Builder
    except ModuleNotFoundError as error:
        raise not_installed("tfds_builders", error.name, "data") from error


def list_builders() -> None:
    """Prints every builder with its configs."""
    for name in names():
        configs = builder_class(name).BUILDER_CONFIGS
        print(name)
        for config in configs:
            print(f"  --config {config.name:12} {config.description}")


def _check_config(builder, name: str, config: str | None) -> None:
    configs = [c.name for c in builder.BUILDER_CONFIGS]
    if config is not None and name == OWN:
        if re.fullmatch(_CONFIG_NAME, config):
            return
        raise InputError(
            f"--config {config}",
            "no name of a dataset",
            "at most 40 letters, digits, _ and -",
            "choose another name",
        )
    if config is not None and config not in configs:
        raise InputError(
            f"--config {config}",
            f"no such config of {name}",
            f"one of {', '.join(configs)}" if configs else "no --config",
            "run python -m tfds_builders.build --list",
        )


def _check_manual_dir(builder, name: str, manual_dir: pathlib.Path | None) -> None:
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS and manual_dir is None:
        raise InputError(
            "--manual_dir",
            "nothing",
            f"the folder that holds the files of {name}",
            f"add --manual_dir D, as tfds_builders/{name}/README.md says",
        )
    if manual_dir is not None and not manual_dir.is_dir():
        raise InputError(
            f"--manual_dir {manual_dir}",
            "no such folder",
            f"the folder that holds the files of {name}",
            f"put them there as tfds_builders/{name}/README.md says",
        )


def _check_data_dir(data_dir: Place) -> None:
    if places.on_bucket(data_dir):
        return  # which has told of its rights
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=data_dir).close()
    except OSError as error:
        raise InputError(
            f"--data_dir {data_dir}",
            (error.strerror or str(error)).lower(),
            "a folder that can be written",
            "choose another with --data_dir",
        ) from error


def build(
    name: str,
    manual_dir: pathlib.Path | None = None,
    config: str | None = None,
    data_dir: str | os.PathLike = _DATA_DIR,
) -> Place:
    """Prepares a dataset where it is not prepared yet and prints what is in it.

    Args:
        name: a builder beside this file.
        manual_dir: folder of the official files; not needed for synthetic heads.
        config: a config of the builder; its default where None.
        data_dir: folder of all prepared datasets, which may lie on a bucket.

    Returns:
        The folder of the prepared dataset.

    Raises:
        InputError: a name or folder that does not exist, and all that is wrong with the files.
    """
    builder_cls = builder_class(name)
    _check_config(builder_cls, name, config)
    data_dir = places.place(data_dir, "--data_dir", writes=True)
    if not places.on_bucket(data_dir):
        data_dir = data_dir.absolute()
    manual_dir = machine.expanded(manual_dir).absolute() if manual_dir else None
    builder = _open_builder(builder_cls, config, data_dir)
    folder = data_dir / builder.data_path.relative_to(data_dir)
    if folder.exists():
        print(f"already prepared; to build it again, remove {folder}")
    else:
        _check_manual_dir(builder_cls, name, manual_dir)
        importlib.import_module("tensorflow")  # takes seconds, in which a signal loses nothing
        with interrupts.held(), _nothing_kept(folder):
            _check_data_dir(data_dir)
            _warn_of_remains(folder)
            _prepare(builder, manual_dir, data_dir)
    _report(builder, name, data_dir)
    return folder


def _open_builder(builder_cls, config: str | None, data_dir: Place):
    """The builder, with what is prepared of it."""
    import tensorflow_datasets as tfds

    default = builder_cls.BUILDER_CONFIGS[0].name
    named = config
    if builder_cls.name == OWN and config not in (None, default):
        named = tfds.core.BuilderConfig(name=config, description="photographs of a user's own")
        # Which TFDS warns of, as if it were an unknown one.
        logging.getLogger("absl").addFilter(lambda record: "custom data config" not in record.msg)
    try:
        builder = builder_cls(config=named, data_dir=str(data_dir))
        if builder.data_path.exists() and not builder.info.splits:
            raise ValueError("no prepared dataset")
    except Exception as error:  # TFDS has no one exception for damage
        if told := places.unanswered(data_dir, error):
            raise told from error
        reason = " ".join(str(error).split())[:200]
        folder = data_dir / builder_cls.name / (config or default) / str(builder_cls.VERSION)
        raise InputError(
            str(folder), reason, "a dataset that was prepared here, or nothing", f"remove {folder}"
        ) from error
    return builder


def check_files(name: str, manual_dir: pathlib.Path | None, config: str | None) -> bool:
    """Reads every official file, prints what is there and what is wrong, writes nothing.

    Returns:
        Whether a build would succeed.

    Raises:
        InputError: a name, config or folder that does not exist, or no archive in it.
    """
    builder_cls = builder_class(name)
    _check_config(builder_cls, name, config)
    if not builder_cls.MANUAL_DOWNLOAD_INSTRUCTIONS:
        print(f"{name} needs no files: it is rendered")
        return True
    manual_dir = machine.expanded(manual_dir).absolute() if manual_dir else None
    _check_manual_dir(builder_cls, name, manual_dir)
    from tfds_builders import check

    config = config or builder_cls.BUILDER_CONFIGS[0].name
    print(f"{name}/{config} from {manual_dir}")
    report = check.check(builder_cls, manual_dir, config)
    print(check.text(report))
    return report.usable


def _prepare(builder, manual_dir: pathlib.Path | None, data_dir: Place) -> None:
    import tensorflow as tf
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    # TFDS insists on a folder for downloads, and tells of downloads that there are none of.
    with tempfile.TemporaryDirectory() as downloads, contextlib.redirect_stdout(io.StringIO()):
        try:
            builder.download_and_prepare(
                download_dir=downloads,
                download_config=tfds.download.DownloadConfig(
                    manual_dir=str(manual_dir) if manual_dir else None
                ),
            )
        except (OSError, RuntimeError, tf.errors.OpError) as error:
            # TFDS passes on what fails at the end of a split as a RuntimeError.
            if isinstance(error, RuntimeError) and not isinstance(
                error.__cause__, OSError | tf.errors.OpError
            ):
                raise
            if told := places.unanswered(data_dir, error.__cause__ or error):
                raise told from error
            raise InputError(
                f"--data_dir {data_dir}",
                " ".join(str(error).split()),
                "a folder with room for the dataset",
                "make room, or choose another with --data_dir",
            ) from error


@contextlib.contextmanager
def _nothing_kept(folder: Place):
    """Removes the folders that a build makes and does not fill; what is not its own stays."""
    if places.on_bucket(folder):
        yield  # TFDS removes what it wrote, and a bucket has no folders
        return
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield
    except BaseException:
        if folder.parents[1] in missing and not any(folder.parents[1].glob("*/*/")):
            # Where TFDS notes which builders there are.
            shutil.rmtree(folder.parents[1] / ".config", ignore_errors=True)
        for place in missing:  # the deepest first
            with contextlib.suppress(OSError):
                place.rmdir()
        raise


def _warn_of_remains(folder: Place) -> None:
    for remains in folder.parent.glob("*incomplete*"):
        print(f"note: remove {remains}, left from a build that was killed", file=sys.stderr)


def _report(builder, name: str, data_dir: Place) -> None:
    config = builder.builder_config.name if builder.builder_config else ""
    print(f"{name}{'/' if config else ''}{config} in {builder.data_dir}")
    with_depth = builder.info.metadata.get("with_depth", {}) if builder.info.metadata else {}
    for split, info in builder.info.splits.items():
        depth = f", {with_depth[split]:,} with depth" if split in with_depth else ""
        print(f"  {split:11} {info.num_examples:>7,} examples{depth}")
    command = (
        f"python -m faceparse_jax.main --config configs/{name}.py "
        f"--workdir runs/{name.partition('_')[0]} --config.data.data_dir={data_dir}"
    )
    default = builder.get_default_builder_config()
    if default and config != default.name:
        command += f" --config.data.config={config}"
    if builder.name == OWN and not with_depth.get("train"):
        command += "".join(f" --config.loss.{term}=0" for term in _OF_DEPTH)
    print(f"next: {command}")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tfds_builders.build", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--list", action="store_true", help="print the datasets and their configs")
    parser.add_argument("--name", help="the dataset")
    parser.add_argument("--manual_dir", type=pathlib.Path, help="folder of the dataset's files")
    parser.add_argument("--config", help="a config of the dataset")
    parser.add_argument("--data_dir", default=_DATA_DIR, help=f"where to write ({_DATA_DIR})")
    parser.add_argument(
        "--check", action="store_true", help="read every file and report; build nothing"
    )
    options = parser.parse_args(argv)
    if not options.list and not options.name:
        parser.error("give --name or --list")
    return options


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    options = parse(argv)
    machine.set_environment()  # before the builders import JAX and TensorFlow
    try:
        if options.list:
            list_builders()
        elif options.check:
            usable = check_files(options.name, options.manual_dir, options.config)
            return 0 if usable else EXIT_BAD_INPUT
        else:
            build(options.name, options.manual_dir, options.config, options.data_dir)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


if __name__ == "__main__":
    interrupts.run(main)
