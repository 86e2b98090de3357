"""The runs of a study: its arms and conditions of one base config, each with several seeds."""

import dataclasses
import re
from collections.abc import Mapping

import ml_collections

from faceparse_jax.config import FIELDS, Config, default, expected, parse
from faceparse_jax.errors import InputError
from faceparse_jax.models import system
from faceparse_jax.models.routes import ROUTES
from faceparse_jax.runtime.places import Place

SEED_KEYS = frozenset({"seed", "data.fraction_seed"})
"""Keys of a run that may take a study's seed."""

ARM = "arm:"
"""Before the name of an arm, as ``train.translator_from``: that arm's run of the same seed."""

_MEND = "mend the study's file"


@dataclasses.dataclass(frozen=True)
class Run:
    """One training of a study.

    Attributes:
        arm, condition: their names.
        config: the whole config; ``train.translator_from`` may name an arm.
        folder: of the run; arms and conditions that come to the same training share it.
        teacher: the run whose translator this one uses, where an arm is named.
    """

    arm: str
    condition: str
    seed: int
    config: Config
    folder: Place
    teacher: "Run | None" = None

    @property
    def name(self) -> str:
        """For people: arm, condition and seed."""
        return ", ".join(filter(None, (self.arm, self.condition, f"seed {self.seed}")))

    @property
    def record(self) -> Place:
        """What a finished run leaves."""
        return self.folder / "record.json"


def plan(study: ml_collections.ConfigDict, workdir: Place) -> list[Run]:
    """The runs of a study, the first seed of all arms first, a translator before who uses it.

    Args:
        study: ``base``, a config of a run; ``arms`` and ``conditions``, tuples of (name,
            overrides), where overrides are pairs of a key of the base and a value; an
            arm's overrides come after a condition's; ``seeds``, and ``seed_keys`` of the base
            that take them; and what `report.write` takes.

    Raises:
        InputError: a name that occurs twice or is not there, a key or value that the base
            does not take, a config that no run takes, or a translator that no other arm makes.
    """
    _check(study)
    runs: list[Run] = []
    folders: dict[tuple, Place] = {}
    for seed in study.seeds:
        for condition, shared in study.conditions:
            configs = {arm: _config(study, arm, seed, (*shared, *own)) for arm, own in study.arms}
            made: dict[str, Run] = {}
            for arm in _translators_first(configs):
                config = configs[arm]
                teacher = made.get(_translator_of(config))
                parts = [_slug(part) for part in (arm, condition) if part]
                folder = workdir / "runs" / "/".join(parts) / f"seed_{seed}"
                same = (config.model_dump_json(), teacher and teacher.folder)
                folder = folders.setdefault(same, folder)
                made[arm] = Run(arm, condition, seed, config, folder, teacher)
            runs += made.values()
    return runs


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "_", name).strip("_.")


def _check(study: ml_collections.ConfigDict) -> None:
    keys = ("base", "arms", "conditions", "seeds", "seed_keys")
    keys += ("scores", "baselines", "checkpoint", "title")
    missing = [key for key in keys if key not in study]
    if missing:
        raise InputError(
            "--config",
            f"a config without {', '.join(missing)}",
            "a study",
            "choose a file of configs/studies/, or leave --mode study out",
        )
    _check_forms(study)
    for what in ("arms", "conditions", "seeds"):
        names = [str(entry if what == "seeds" else entry[0]) for entry in study[what]]
        slugs = [_slug(name) for name in names]
        twice = sorted({slug for slug in slugs if slugs.count(slug) > 1})
        # One condition may have no name: it then has no part in folders and tables.
        empty = [name for name, slug in zip(names, slugs, strict=True) if not slug and name]
        if what == "arms":
            empty += [name for name in names if not name]
        if twice or empty or not names:
            found = f"{', '.join(twice)} twice" if twice else "nothing"
            raise InputError(
                f"config.{what}",
                f"{empty[0]!r}" if empty else found,
                "different names of Latin letters and digits, at least one",
                "rename one of them in the study's file",
            )
    arms = {name for name, _ in study.arms}
    for _, baseline in study.baselines:
        if baseline not in arms:
            raise InputError(
                "config.baselines", f"the arm {baseline!r}", f"one of {sorted(arms)}", _MEND
            )
    routes = [route for route, _ in study.baselines]
    if len(set(routes)) < len(routes):
        raise InputError("config.baselines", str(routes), "one baseline for a route", _MEND)


def _check_forms(study: ml_collections.ConfigDict) -> None:
    """Refuses values of another form than `plan` and `report.write` take."""
    overrides = "(name, overrides) pairs, overrides being (key, value) pairs"
    routes = f"of {', '.join(ROUTES)}"
    forms = {
        "base": (lambda value: isinstance(value, ml_collections.ConfigDict), "a config of a run"),
        "seeds": (lambda value: all(type(seed) is int for seed in value), "integers"),
        "seed_keys": (
            lambda value: value and SEED_KEYS.issuperset(value),
            f"one or both of {sorted(SEED_KEYS)}",
        ),
        "arms": (_are_overrides, overrides),
        "conditions": (_are_overrides, overrides),
        "checkpoint": (("best", "last").__contains__, "'best' or 'last'"),
        "scores": (
            lambda value: value and _are_of_routes(value),
            f"(route, score) pairs, routes {routes}",
        ),
        "baselines": (_are_of_routes, f"(route, arm) pairs, routes {routes}"),
    }
    for key, (fits, wanted) in forms.items():
        try:
            good = fits(study[key])
        except (TypeError, ValueError):
            good = False
        if not good:
            found = " ".join(str(study[key]).split())[:100]
            raise InputError(f"config.{key}", found, wanted, _MEND)


def _are_overrides(value) -> bool:
    # What is no sequence of pairs raises here.
    return all(isinstance(name, str) and dict(pairs) is not None for name, pairs in value)


def _are_of_routes(value) -> bool:
    return all(route in ROUTES and isinstance(name, str) for route, name in value)


def _config(study, arm: str, seed: int, overrides) -> Config:
    config = default().lock()
    try:
        config.update(parse(study.base).model_dump())
    except InputError as error:
        raise InputError(f"base, {error.what}", error.found, error.expected, _MEND) from error
    for key, value in overrides:
        if key in study.seed_keys:
            raise InputError(
                f"arm {arm!r}, key {key!r}",
                repr(value),
                "a key that does not take the study's seed",
                "leave it out, or out of the study's seed_keys",
            )
        if key not in FIELDS:
            raise InputError(
                f"arm {arm!r}, key {key!r}",
                "a key that does not exist",
                "keys of docs/configuration.md",
                _MEND,
            )
        try:
            if value is None:
                raise TypeError("None")
            config.update_from_flattened_dict({key: value})
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise InputError(
                f"arm {arm!r}, key {key!r}",
                " ".join(str(error).split()),
                expected(key),
                _MEND,
            ) from error
    config.update_from_flattened_dict(dict.fromkeys(study.seed_keys, seed))
    arms = [name for name, _ in study.arms]
    if (source := _translator_of(config)) and source not in arms:
        raise InputError(
            f"arm {arm!r}, train.translator_from",
            f"the arm {source!r}",
            f"one of {sorted(arms)}",
            "name one of them",
        )
    try:
        return parse(config)
    except InputError as error:
        raise InputError(
            f"arm {arm!r}, {error.what}", error.found, error.expected, _MEND
        ) from error


def _translator_of(config: Config | ml_collections.ConfigDict) -> str:
    """The arm whose translator a config names, or nothing."""
    source = config.train.translator_from
    return source.removeprefix(ARM) if source.startswith(ARM) else ""


def _translators_first(configs: Mapping[str, Config]) -> list[str]:
    """The arms, each after the one whose translator it uses.

    Raises:
        InputError: a translator of itself in the end, or of another form.
    """
    ordered: list[str] = []
    left = list(configs)
    for arm, config in configs.items():
        source = _translator_of(config)
        if source and _translator(config) != _translator(configs[source]):
            raise InputError(
                f"arm {arm!r}, train.translator_from",
                f"the arm {source!r}, which has no translator of its form",
                "a translator with its crop, size and model.translator_features",
                _MEND,
            )
    while left:
        ready = [arm for arm in left if _translator_of(configs[arm]) in ("", *ordered)]
        if not ready:
            raise InputError(
                "train.translator_from",
                f"the arms {', '.join(left)}, which wait for each other",
                "a translator that an arm trains by itself",
                _MEND,
            )
        ordered += ready
        left = [arm for arm in left if arm not in ready]
    return ordered


def _translator(config: Config) -> tuple[int, int] | None:
    """Levels and features of the translator that a config has; the classes do not matter."""
    net = system.build(config, num_classes=2).translator
    return net and (net.levels, net.features)
