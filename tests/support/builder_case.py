"""What the tests of the builders share."""

import pathlib
import shutil
import tempfile

import pytest
import tensorflow_datasets as tfds

from faceparse_jax.errors import InputError


class BuilderCase(tfds.testing.DatasetBuilderTestCase):
    """TFDS's checks of a builder, on archives that `WRITE` puts into a folder."""

    __test__ = False

    @classmethod
    def setUpClass(cls):
        cls.EXAMPLE_DIR = tempfile.mkdtemp()
        cls.WRITE(pathlib.Path(cls.EXAMPLE_DIR))
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.EXAMPLE_DIR)


def prepared(module, manual_dir: pathlib.Path, config: str = "official") -> dict[str, dict]:
    """Examples by id, and the metadata as `metadata`."""
    data_dir = manual_dir.parent / "data"
    shutil.rmtree(data_dir, ignore_errors=True)
    builder = module.Builder(config=config, data_dir=str(data_dir))
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=str(manual_dir))
    )
    found = {"metadata": builder.info.metadata}
    for split in builder.info.splits:
        for example in tfds.as_numpy(builder.as_dataset(split=split)):
            found[example["id"].decode()] = {**example, "split": split}
    return found


def assert_refused(message: str, module, manual_dir: pathlib.Path, config: str = "official"):
    """The build ends with a sentence that matches `message`, and leaves nothing."""
    with pytest.raises(InputError, match=message) as caught:
        prepared(module, manual_dir, config)
    assert "; next: " in str(caught.value)
    assert not list((manual_dir.parent / "data").rglob("*tfrecord*"))
    assert not list((manual_dir.parent / "data").rglob("dataset_info.json"))
