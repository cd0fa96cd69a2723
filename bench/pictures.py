"""The pictures of the results: one SVG for each benchmark, and one of where a task's processor time goes.

Dark ink on a white card, so that they can be read on light and on dark pages. The same results give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from benches import Benchmark
from matplotlib.figure import Figure
from measurement import WAYBILL
from table import Standing, number

INK, FAINT, OURS, THEIRS, GOAL = "#1f2933", "#d9dee4", "#0b7a75", "#a7b1bc", "#c2410c"
PARTS = ("#0b7a75", "#3b82c4", "#7aa6d9", "#b3541e", "#e09f5a", "#8a94a0", "#c9ced6")
WIDTH_INCHES = 7.2
ROW_INCHES = 0.34
LOGARITHMIC_FROM = 100.0
"""Beyond this ratio between the largest and the smallest value a linear axis would hide the small ones."""

mpl.rcParams.update(
    {
        "svg.hashsalt": "waybill",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.edgecolor": FAINT,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)


def draw_standing(standing: Standing, path: Path) -> None:
    """All systems of a benchmark, the best first, and what Waybill is to reach."""
    order = sorted(
        (standing.waybill, *standing.others),
        key=lambda result: result.value,
        reverse=standing.benchmark.higher_is_better,
    )
    names, values = [result.system for result in order], [result.value for result in order]
    goal = goal_of(standing)
    figure = _figure(len(order), standing.benchmark.work)
    axes = figure.subplots()
    axes.barh(names, values, color=[OURS if name == WAYBILL else THEIRS for name in names], height=0.62)
    axes.invert_yaxis()
    positive = [value for value in (*values, goal) if value]
    logarithmic = len(positive) > 1 and max(positive) / min(positive) > LOGARITHMIC_FROM
    if logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(min(positive) / 3, max(positive) * 4)
    else:
        axes.set_xlim(0, max(positive, default=1.0) * 1.18)
    for place, value in enumerate(values):
        label = axes.annotate(number(value), (value, place), xytext=(4, 0), textcoords="offset points", va="center")
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8})  # the target's line may cross it
    if goal is not None:
        axes.axvline(goal, color=GOAL, linestyle="--", linewidth=1.3)
        axes.set_title(f"target: {standing.benchmark.target} ({number(goal)})", fontsize=9, color=GOAL, loc="right")
    better = "higher is better" if standing.benchmark.higher_is_better else "lower is better"
    axes.set_xlabel(f"{standing.waybill.unit}, {better}{', logarithmic' if logarithmic else ''}")
    axes.tick_params(axis="y", length=0)
    _save(figure, path)


def goal_of(standing: Standing) -> float | None:
    """Where the target is on the axis of values: the stricter one, if there are a limit and a rival."""
    benchmark, goals = standing.benchmark, []
    if benchmark.limit is not None:
        goals.append(benchmark.limit)
    if benchmark.times is not None and standing.ratio:
        goals.append(_rival_value(benchmark, standing) * _factor(benchmark))
    return (max if benchmark.higher_is_better else min)(goals, default=None)


def _rival_value(benchmark: Benchmark, standing: Standing) -> float:
    assert standing.ratio is not None
    value = standing.waybill.value
    return value / standing.ratio if benchmark.higher_is_better else value * standing.ratio


def _factor(benchmark: Benchmark) -> float:
    assert benchmark.times is not None
    return benchmark.times if benchmark.higher_is_better else 1 / benchmark.times


def draw_costs(costs: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Microseconds of processor time by process, for each kind of work."""
    figure = _figure(len(costs) + 1, "processor time of one task or step, in microseconds")
    axes = figure.subplots()
    names = [name for name in next(iter(costs.values())) if name not in ("sum", "planner")]
    left = [0.0] * len(costs)
    for name, color in zip(names, PARTS, strict=False):
        widths = [cost.get(name, 0.0) for cost in costs.values()]
        axes.barh(list(costs), widths, left=left, color=color, label=name, height=0.62)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for place, end in enumerate(left):
        axes.annotate(number(end), (end, place), xytext=(4, 0), textcoords="offset points", va="center")
    axes.invert_yaxis()
    axes.set_xlim(0, max(left) * 1.12)
    axes.legend(ncols=len(names), fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    axes.tick_params(axis="y", length=0)
    _save(figure, path)


def draw_growth(detail: Mapping[str, Any], path: Path) -> None:
    """Throughput by what is stored, and the cost of a step by the size of its plan."""
    figure = _figure(5, "")
    left, right = figure.subplots(1, 2)
    _columns(left, detail["tasks_s_by_stored_tasks"], "finished tasks stored", "tasks/s")
    _columns(right, detail["cpu_us_a_step_by_plan_steps"], "steps of a plan", "processor time of a step, µs")
    _save(figure, path)


def _columns(axes: Any, values: Mapping[str, float], what: str, unit: str) -> None:
    names = [f"{int(name):,}" for name in values]
    axes.bar(names, list(values.values()), color=OURS, width=0.55)
    axes.set_ylim(0, max(values.values()) * 1.18)
    for place, value in enumerate(values.values()):
        axes.annotate(number(value), (place, value), xytext=(0, 3), textcoords="offset points", ha="center")
    axes.set_xlabel(what)
    axes.set_title(unit, fontsize=10, loc="left")


def _figure(rows: int, title: str) -> Figure:
    figure = Figure(figsize=(WIDTH_INCHES, 1.15 + ROW_INCHES * rows), layout="constrained", facecolor="white")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
