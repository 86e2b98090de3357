"""Few photographs with labels, all with depth: does the depth parser teach the RGB parser?

The form of the teaching was chosen on validation data by configs/studies/labels.py. It counts
classes alike, so the parsers alone are there with a loss that does so as well.
"""

from configs.studies import arms, celebamask_hq_d, labels


def get_config():
    c = celebamask_hq_d.get_config()
    c.arms = (
        labels.RGB_ALONE,
        arms.by_class(labels.RGB_ALONE),
        labels.DEPTH_ALONE,
        arms.by_class(labels.DEPTH_ALONE),
        labels.depth_labels(c.base.train.steps),
    )
    routes = ("rgb", "depth", "fusion")
    c.scores = tuple(
        (route, score) for route in routes for score in ("f1/mean", "f1/mean_depth_classes")
    )
    c.conditions = arms.label_fractions(0.003)
    return c
