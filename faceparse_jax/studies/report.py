"""What a study found: a CSV of every score, a table with a paired test, a plot."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np
from scipy import stats

from faceparse_jax.models.routes import ROUTES
from faceparse_jax.runtime import places
from faceparse_jax.runtime.places import Place


@dataclasses.dataclass(frozen=True)
class Result:
    """The scores of one finished run: by route, then by name, 0..1 or None."""

    arm: str
    condition: str
    seed: int
    scores: Mapping[str, Mapping[str, float | None]]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One arm under one condition, in percent.

    Attributes:
        by_seed: the runs' scores.
        mean, spread: over the seeds; the spread is the sample standard deviation, None
            for one seed.
        difference: mean over the seeds of the difference to the baseline's run of the
            same seed; None for the baseline itself.
        difference_spread, p_value: standard deviation of that difference, and the
            two-sided paired t-test; None below two common seeds, or where all
            differences are equal.
        pairs: seeds that both have.
    """

    by_seed: Mapping[int, float]
    mean: float
    spread: float | None
    difference: float | None = None
    difference_spread: float | None = None
    p_value: float | None = None
    pairs: int = 0

    @property
    def count(self) -> int:
        return len(self.by_seed)


def cell(values: Mapping[int, float], baseline: Mapping[int, float] | None) -> Cell:
    """Statistics of one arm's scores in percent, both by seed."""
    own = np.array(list(values.values()))
    spread = float(own.std(ddof=1)) if own.size > 1 else None
    plain = Cell(values, float(own.mean()), spread)
    common = sorted(values.keys() & baseline.keys()) if baseline else []
    if not common:
        return plain
    pairs = np.array([(values[seed], baseline[seed]) for seed in common])
    differences = pairs[:, 0] - pairs[:, 1]
    plain = dataclasses.replace(plain, difference=float(differences.mean()), pairs=len(common))
    if len(common) < 2 or np.ptp(differences) == 0:
        return plain
    test = stats.ttest_rel(pairs[:, 0], pairs[:, 1])
    return dataclasses.replace(
        plain,
        difference_spread=float(differences.std(ddof=1)),
        p_value=float(test.pvalue),
    )


def cells(
    results: Sequence[Result], route: str, score: str, baseline: str | None
) -> dict[str, dict[str, Cell]]:
    """Statistics by arm and condition; arms without this score are left out.

    Args:
        baseline: the arm that the others are compared with under the same condition.
    """
    values: dict[str, dict[str, dict[int, float]]] = {}
    for result in results:
        value = result.scores.get(route, {}).get(score)
        if value is not None:
            by_condition = values.setdefault(result.arm, {})
            by_condition.setdefault(result.condition, {})[result.seed] = 100 * value
    base = values.get(baseline, {}) if baseline else {}
    return {
        arm: {
            condition: cell(by_seed, None if arm == baseline else base.get(condition))
            for condition, by_seed in by_condition.items()
        }
        for arm, by_condition in values.items()
    }


def _text(cell: Cell | None, seeds: int) -> str:
    if cell is None:
        return "-"
    text = f"{cell.mean:.1f}"
    if cell.spread is not None:
        text += f" ± {cell.spread:.1f}"
    inner = []
    if cell.difference is not None:
        inner.append(f"{cell.difference:+.1f}")
        if cell.difference_spread is not None:
            inner[0] += f" ± {cell.difference_spread:.1f}"
            inner.append(f"p {cell.p_value:.2g}")
        if cell.pairs < cell.count:
            inner.append(f"difference over {cell.pairs}")
    if cell.count < seeds:
        inner.append(f"{cell.count} of {seeds} seeds")
    return f"{text} ({', '.join(inner)})" if inner else text


def write(
    study: ml_collections.ConfigDict,
    results: Sequence[Result],
    records: Sequence[Mapping[str, Any]],
    missing: Sequence[str],
    workdir: Place,
) -> str:
    """Writes ``results.csv``, ``tables.md`` and ``plot.png`` and returns the tables.

    Args:
        study: ``scores``, pairs of a route and a score's name, each a table; ``baselines``,
            pairs of a route and an arm; ``arms`` and ``conditions`` for their order;
            ``title``, and ``base`` for what stands below it.
        records: of the finished runs, for what the tables rest on.
        missing: names of the runs that are not finished.
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["arm", "condition", "seed", "route", "score", "value"])
    for result in results:
        for route, scores in result.scores.items():
            for name, value in scores.items():
                number = "" if value is None else value
                writer.writerow([result.arm, result.condition, result.seed, route, name, number])
    places.write(workdir / "results.csv", file.getvalue().encode())
    tables = []
    baselines = dict(study.baselines)
    for route, score in study.scores:
        found = cells(results, route, score, baselines.get(route))
        if found:
            tables.append((route, score, found))
    text = _markdown(study, tables, baselines, records, missing)
    places.write(workdir / "tables.md", text.encode())
    if tables:
        _plot(study, tables, workdir / "plot.png")
    return text


def _setting(run: ml_collections.ConfigDict) -> str:
    """What the runs have in common and a reader must know."""
    return f"{run.data.size} px, width {run.model.width:g}, {run.train.steps:,} steps"


def _sources(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the scores come from, a line each; several values where the runs differ."""
    found: dict[str, set[str]] = {}
    for record in records:
        values = {
            "code version": record.get("code_version"),
            "checkpoint": record.get("checkpoint"),
            "warning": record.get("leak"),
        }
        if on := record.get("scored_on"):
            values |= {
                "data": f"{on['name']}/{on['config']} {on['version']}, {on['split']}: "
                f"{on['examples']['all']} examples, {on['examples']['with_depth']} with depth",
                "data fingerprint": on["fingerprint"],
                "depth": on["depth_source"],
                "merge order of the labels": on["merge_order"],
                "scored at": record.get("scoring_resolution"),
            }
        if record.get("libraries"):
            values["jax"] = record["libraries"].get("jax")
        for route, absent in record.get("absent", {}).items():
            values[f"absent, left out of the means of {route}"] = ", ".join(absent) or "none"
        for name, value in values.items():
            if value:
                found.setdefault(name, set()).add(str(value))
    found = {name: values for name, values in found.items() if values != {"none"}}
    return [f"* {name}: {'; '.join(sorted(found[name]))}" for name in sorted(found)]


def _markdown(study, tables, baselines: Mapping[str, str], records, missing) -> str:
    seeds = len(study.seeds)
    if seeds > 1:
        how = (
            f"mean ± sample standard deviation over {seeds} seeds.\nIn brackets: the mean "
            "difference to the baseline's runs of the same seeds ± its standard deviation, p of "
            "the paired t-test, and how many seeds there are where some are missing."
        )
    else:
        how = f"seed {study.seeds[0]} alone. In brackets: the difference to the baseline."
    setting = f"{_setting(study.base)}; percent over the split `{study.base.eval.split}`, {how}"
    lines = [f"# {study.title}", "", setting]
    conditions = [name for name, _ in study.conditions]
    for route, score, found in tables:
        baseline = f"; baseline: {baselines[route]}" if route in baselines else ""
        lines += ["", f"## {score}, {ROUTES[route].title}{baseline}", ""]
        lines.append("| arm | " + " | ".join(name or "score" for name in conditions) + " |")
        lines.append("|---" * (len(conditions) + 1) + "|")
        for arm, _ in study.arms:
            if arm in found:
                row = [_text(found[arm].get(condition), seeds) for condition in conditions]
                lines.append(f"| {arm} | " + " | ".join(row) + " |")
    if missing:
        lines += ["", f"Not finished: {'; '.join(missing)}."]
    return "\n".join([*lines, "", *_sources(records)]) + "\n"


def _plot(study, tables: list[tuple[str, str, Any]], path: Place) -> None:
    # Here: only a study needs it, and its import takes seconds.
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    conditions = [name for name, _ in study.conditions]
    arms = [name for name, _ in study.arms]
    figure, axes = pyplot.subplots(
        1, len(tables), figsize=(5.2 * len(tables), 4.2), squeeze=False, layout="constrained"
    )
    for axis, (route, score, found) in zip(axes[0], tables, strict=True):
        shown = [arm for arm in arms if arm in found]
        for place, arm in enumerate(shown):
            colour = f"C{arms.index(arm) % 10}"
            if len(conditions) > 1:
                there = [c for c in conditions if c in found[arm]]
                # Moved apart, so that bars of spread do not cover each other.
                x = [conditions.index(c) + 0.05 * (place - len(shown) / 2) for c in there]
            else:
                there, x = conditions, [place]
            values = [found[arm][c] for c in there]
            axis.errorbar(
                x,
                [v.mean for v in values],
                [v.spread or 0 for v in values],
                marker="o",
                capsize=3,
                color=colour,
                label=arm,
            )
        if len(conditions) > 1:
            axis.set_xticks(range(len(conditions)), conditions)
            axis.legend(fontsize=8)
        else:
            # Seeds differ more than arms do, since each has its own choice of examples.
            for seed in study.seeds:
                scores = [found[arm][conditions[0]].by_seed.get(seed, np.nan) for arm in shown]
                axis.plot(scores, color="0.6", linewidth=1, marker=".", zorder=1)
            axis.margins(x=0.2)
            axis.set_xticks(range(len(shown)), shown, rotation=30, ha="right")
        axis.set_title(ROUTES[route].title, fontsize=10)
        axis.set_ylabel(f"{score}, percent")
        axis.grid(alpha=0.3)
    lines = "; grey: each seed" if len(conditions) == 1 and len(study.seeds) > 1 else ""
    figure.suptitle(f"{study.title}\n{_setting(study.base)}{lines}", fontsize=11)
    file = io.BytesIO()
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
    places.write(path, file.getvalue())
