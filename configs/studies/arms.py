"""The arms that the studies share, and what every study has."""

from ml_collections import ConfigDict

from faceparse_jax.configs import base


def terms(*, rgb=0.0, depth=0.0, e2e=0.0, mutual=0.0, translation=0.0, adversarial=0.0):
    """Overrides that give the loss these weights, and every other term 0."""
    return tuple((f"loss.{term}", float(weight)) for term, weight in locals().items())


ROWS = 8
"""Rows of a batch that each parser learns from, alone or together: small batches learn more for
the same time."""

# Where depth is scarce, batches as they come would have none. A depth parser alone sees nothing
# but rows with depth. Together, a second batch is drawn for its depth and teaches nothing else, so
# that no system has fewer or other rows than its parsers have alone.
_ALL = ("data.depth_share", 1.0)
_PAIRED = ("data.paired_rows", ROWS)

RGB_ALONE = ("rgb alone", (*terms(rgb=1), ("data.depth_fraction", 1.0)))
DEPTH_ALONE = ("depth alone", (*terms(depth=1), _ALL))
TRANSLATION = ("translation", (*terms(depth=1, e2e=1, translation=10), _PAIRED))
FULL = ("full", (*terms(rgb=1, depth=1, e2e=1, mutual=0.1, translation=10), _PAIRED))
# Mutual learning as configs/base.py has it.
FULL_BY_CLASS = ("full, by class", (*FULL[1], ("loss.mutual_mean", "classes")))
# The translator learns by itself first and then stays as it is.
TRANSLATOR = ("translator", (*terms(translation=10), _ALL))
APART = (
    "translation apart",
    (*terms(depth=1, e2e=1), _PAIRED, ("train.translator_from", "arm:translator")),
)


def variant(of: tuple[str, tuple], name: str, **overrides):
    """Another arm with other values; ``loss__mutual_mean`` stands for loss.mutual_mean."""
    changed = tuple((key.replace("__", "."), value) for key, value in overrides.items())
    return (name, (*of[1], *changed))


def by_class(of: tuple[str, tuple]):
    """The arm whose loss on labels counts classes alike."""
    return variant(of, f"{of[0]}, by class", loss__segmentation_mean="classes")


# Translation puts twice the rows through the depth parser; so does this.
MORE_DEPTH = variant(DEPTH_ALONE, "depth alone, twice the rows", train__batch=2 * ROWS)
# The depth parser learns from the RGB parser and teaches it nothing.
RGB_TEACHES = variant(FULL, "full, RGB teaches", loss__mutual_students="depth")


def fading(of: tuple[str, tuple], steps: int):
    """The arm with an end-to-end term that falls to 0 over two thirds of `steps`.

    Translated depth teaches first and real depth last.
    """
    return variant(of, of[0], loss__e2e=((0, 1.0), (2 * steps // 3, 0.0)))


def depth_fractions(*fractions: float):
    """Conditions that leave depth to a share of the training examples."""
    return tuple(
        (f"{100 * fraction:g} % depth", (("data.depth_fraction", fraction),))
        for fraction in fractions
    )


def label_fractions(*fractions: float):
    """Conditions that leave labels to a share of the training examples."""
    return tuple(
        (f"{100 * fraction:g} % labels", (("data.label_fraction", fraction),))
        for fraction in fractions
    )


def study(title: str, run: ConfigDict | None = None) -> ConfigDict:
    """Every key of a study; `run` is the base config."""
    run = run or base.get_config()
    # Only the end of a run counts.
    run.eval.every = run.log.pictures_every = run.train.steps
    run.eval.boundary_tolerance = -1
    run.checkpoint.keep = 1
    run.loss.mutual_mean = "pixels"  # the plain form; by class is a variant with a name
    run.train.batch = ROWS
    c = ConfigDict()
    c.title = title  # over tables and plot: data, and where the depth comes from
    c.base = run
    c.seeds = (0, 1, 2)
    # What takes the seed: with data.fraction_seed, each seed has a choice of examples of its own.
    c.seed_keys = ("seed",)
    c.arms = ()  # (name, overrides of the base)
    c.conditions = (("", ()),)  # (name, overrides), crossed with the arms
    c.checkpoint = "last"  # scored; or "best" by validation
    # A table each: route, score.
    c.scores = (("depth", "f1/mean_depth_classes"), ("rgb", "f1/mean"))
    c.baselines = (("depth", "depth alone"), ("rgb", "rgb alone"))
    return c
