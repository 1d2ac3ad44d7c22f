"""Charts of what benchmarks found, as SVG files. They take matplotlib, without which a measurement is as good."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

MOST_TICKS: Final = 6
"""Places that an axis names one by one."""
ROUNDED: Final = 100
"""From which on a bar is labelled with whole numbers."""


def lines(
    path: Path,
    found: Mapping[str, Sequence[tuple[float, float]]],
    *,
    title: str,
    across: str,
    up: str,
    log: str = "xy",
) -> str | None:
    """Draws lines, each of places and values, by name. `log` names the axes that are logarithmic.

    Returns why there is no chart, where there is none.
    """

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        for number, (name, values) in enumerate(found.items()):
            axes.plot(*zip(*values, strict=True), marker="osv^D"[number // 10 % 5], markersize=4, label=name)
        if "x" in log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:,g}")
            places = sorted({place for values in found.values() for place, _ in values})
            if len(places) <= MOST_TICKS:
                axes.set_xticks(places, [f"{place:,g}" for place in places], minor=False)
                axes.minorticks_off()
        if "y" in log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:,g}")
        else:
            axes.set_ylim(bottom=0)
        axes.set(title=title, xlabel=across, ylabel=up)
        axes.grid(visible=True, alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)

    return _drawn(path, (8, 4.5), draw)


@dataclass(frozen=True, slots=True)
class Panel:
    """One of several pictures below one another: a group of bars for each name."""

    title: str
    up: str
    bars: Mapping[str, Mapping[str, float]]
    """By the name of the group, and of the bar in it."""
    stacked: bool = False
    """Whether the bars of a group stand on one another."""


def bars(path: Path, panels: Sequence[Panel]) -> str | None:
    """Draws bars, labelled with their values, or with their sum where they are stacked. Returns as `lines` does."""

    def draw(figure: Any) -> None:
        for axes, panel in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
            _draw_bars(axes, panel)

    return _drawn(path, (8, 2.6 * len(panels)), draw)


def _draw_bars(axes: Any, panel: Panel) -> None:
    names = list(dict.fromkeys(name for group in panel.bars.values() for name in group))
    width = 0.8 if panel.stacked else 0.8 / len(names)
    below = [0.0] * len(panel.bars)
    for number, name in enumerate(names):
        heights = [group.get(name, 0.0) for group in panel.bars.values()]
        shift = 0.0 if panel.stacked else (number - (len(names) - 1) / 2) * width
        places = [place + shift for place in range(len(heights))]
        drawn = axes.bar(places, heights, width, bottom=below, label=name)
        if panel.stacked:
            below = [under + height for under, height in zip(below, heights, strict=True)]
        if not panel.stacked or name == names[-1]:
            values = below if panel.stacked else heights
            axes.bar_label(drawn, [f"{each:,.0f}" if each >= ROUNDED else f"{each:.3g}" for each in values], fontsize=7)
    axes.set_xticks(range(len(panel.bars)), list(panel.bars))
    axes.set(title=panel.title, ylabel=panel.up)
    axes.margins(y=0.15)
    axes.grid(visible=True, axis="y", alpha=0.3)
    if len(names) > 1:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def _drawn(path: Path, inches: tuple[float, float], draw: Callable[[Any], None]) -> str | None:
    try:
        matplotlib = importlib.import_module("matplotlib")
        figures = importlib.import_module("matplotlib.figure")
    except ModuleNotFoundError as error:
        return f"no chart, for {error.name} is not here: `make bench-tools` installs it"
    # The same figures make the same file, and letters stay letters.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "signalfire", "font.size": 9}):
        figure = figures.Figure(figsize=inches, layout="constrained")
        draw(figure)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
    return None
