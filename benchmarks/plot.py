"""The plot: what waiting costs by way and number of videos."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib import ticker
from matplotlib.figure import Figure

from benchmarks.tables import POLLING

if TYPE_CHECKING:
    from pathlib import Path

PANELS = {
    "cpu_per_1000": "CPU seconds per 1,000 polls",
    "memory_per_video": "peak KB per video",
    "sockets": "open sockets at most",
}


def plot(file: Path) -> None:
    """Draws one panel per figure, on logarithmic scales."""
    medians = POLLING.medians()
    ways = list(dict.fromkeys(way for _, way in medians))
    figure = Figure(figsize=(13, 4), layout="constrained")
    panels = figure.subplots(1, len(PANELS))
    for panel, (field, title) in zip(panels, PANELS.items(), strict=True):
        for way in ways:
            points = [(case[0], found[field]) for case, found in medians.items() if case[1] == way and found[field]]
            panel.plot(*zip(*points, strict=True), marker="o", linewidth=2.5 if "this" in way else 1.2, label=way)
        panel.set(title=title, xlabel="videos waiting", xscale="log", yscale="log")
        panel.set_xticks(sorted({case[0] for case in medians}), minor=False)
        panel.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
        panel.xaxis.set_minor_formatter(ticker.NullFormatter())
        panel.grid(visible=True, which="major", alpha=0.3)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(file, dpi=110)
