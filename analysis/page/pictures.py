# SPDX-License-Identifier: GPL-2.0-or-later
"""The static pictures of a page: one for each kind of finding, as PNG inside the page."""

from __future__ import annotations

import base64
import io

import pandas as pd
from matplotlib.figure import Figure

from analysis.page.markup import shown
from analysis.page.verdict import KIND
from analysis.plot.scene import Window
from analysis.plot.timeline import plot_timeline
from analysis.ranking import most_interesting
from analysis.trace import Trace

#: A picture takes about two seconds and 200 KB.
PICTURES = 6
#: A closer look shows so many times what the finding spans, and at least this part of the life.
AROUND, PART = 2.0, 0.02


def pictures(trace: Trace, findings: pd.DataFrame) -> dict[int, str]:
    """The picture of the first finding of each kind, by the finding's label.

    If a life has findings of several kinds, further pictures of it are zoomed in.
    """
    firsts = findings[findings["life"] >= 0].groupby(KIND, observed=True, sort=False).head(1)
    drawn: dict[int, str] = {}
    seen: set[int] = set()
    for label, finding in firsts.head(PICTURES).iterrows():
        life = int(finding["life"])
        window = _closer(trace, finding) if life in seen else None
        words = f"finding {label}: {finding['rule']} in life {life}"
        drawn[int(str(label))] = picture(trace, life, words, window)
        seen.add(life)
    return drawn


def example(trace: Trace) -> str:
    """The picture of the most interesting life, for a trace without findings."""
    if not sum(trace.totals.orders.values()):
        return ""
    life = most_interesting(trace)
    return picture(trace, life, f"life {life}, the most interesting life")


def picture(trace: Trace, life: int, words: str, window: Window = None) -> str:
    """A life's timeline with its caption."""
    return figure_html(plot_timeline(trace, life, window=window), words, f"timeline of {words}")


def figure_html(figure: Figure, words: str, instead: str = "") -> str:
    """A picture with its caption; ``instead``: the alternative text, by default the caption."""
    data = io.BytesIO()
    figure.savefig(data, format="png")
    text = base64.b64encode(data.getvalue()).decode()
    return (
        f'<figure><img alt="{shown(instead or words)}" src="data:image/png;base64,{text}">'
        f"<figcaption>{shown(words)}</figcaption></figure>"
    )


def _closer(trace: Trace, finding: pd.Series) -> Window:
    """The time around a finding."""
    life = trace.df_lives().loc[finding["life"]]
    last = trace.census.last_ts if pd.isna(life["death_ts"]) else int(life["death_ts"])
    begin, end = int(finding["ts"]), max(int(finding["seen_ts"]), int(finding["end_ts"]))
    pad = int(max(AROUND * (end - begin), PART * (last - int(life["birth_ts"]))))
    return min(begin - pad, last), end + pad
