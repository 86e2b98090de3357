"""Procedural heads with exact labels and depth: a dataset that needs no download."""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from faceparse_jax import labels
from faceparse_jax.data.synthetic import heads, render_head
from tfds_builders import examples

_SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(eq=False)
class HeadsConfig(tfds.core.BuilderConfig):
    """Size and number of the heads.

    Attributes:
        size: side in pixels.
        counts: heads in train, validation and test.
    """

    size: int = 96
    counts: tuple[int, int, int] = (0, 0, 0)


def _config(name: str, size: int, *counts: int) -> HeadsConfig:
    text = f"{size} px, {' / '.join(f'{n:,}' for n in counts)} heads"
    return HeadsConfig(name=name, description=text, size=size, counts=counts)


class Builder(tfds.core.GeneratorBasedBuilder):
    """Synthetic heads with image, depth and label from one geometry."""

    VERSION = tfds.core.Version(heads.VERSION)
    RELEASE_NOTES = {  # noqa: RUF012, the name and type are TFDS's
        "2.1.0": "Teeth that shine, redder lips, plain and dark clothes, smoother hair.",
        "2.0.1": "Hair that is swept to one side covers the brow.",
        "2.0.0": "Closer to photographs (docs/heads.md); a lens is labelled as glasses.",
        "1.0.0": "First release.",
    }
    BUILDER_CONFIGS = [  # noqa: RUF012
        _config("demo", 96, 1_000, 80, 100),
        _config("128", 128, 2_000, 200, 200),
        _config("256", 256, 10_000, 500, 500),
        _config("tiny", 64, 24, 12, 13),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        scheme = labels.CELEBAMASK_HQ
        size = self.builder_config.size
        picture = tfds.features.Image(shape=(size, size, 3), encoding_format="png")
        grey = tfds.features.Image(shape=(size, size, 1), dtype=np.uint8, encoding_format="png")
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": picture,
                    "depth": grey,
                    "label": grey,
                    "id": tfds.features.Text(),
                    "has_depth": np.bool_,
                }
            ),
            supervised_keys=("image", "label"),
            metadata=tfds.core.MetadataDict(
                scheme=scheme.name,
                classes=list(scheme.classes),
                left_of=scheme.left_of,
                merge_order="",
                depth_source="rendered",
            ),
        )

    def _split_generators(self, dl_manager) -> dict:
        del dl_manager  # nothing is downloaded
        rows, first = {}, 0
        for split, count in zip(_SPLITS, self.builder_config.counts, strict=True):
            rows[split] = range(first, first + count)
            first += count
        made = examples.Splits("synthetic heads", rows, self._head, self.info.metadata)
        return {split: self._generate_examples(made, split) for split in _SPLITS}

    def _generate_examples(self, made: examples.Splits, split: str):
        yield from made.generate(split)

    def _head(self, key: int) -> examples.Example:
        head = render_head(key, self.builder_config.size)
        has_depth = bool(head["depth"].any())
        classes = tuple(np.unique(head["label"]).tolist())
        made = {**head, "id": f"{key:06d}", "has_depth": has_depth}
        return examples.Example(made, classes=classes)
