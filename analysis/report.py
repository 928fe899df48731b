# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace as one self-contained HTML page: verdict, findings, pictures, lives, totals."""

from __future__ import annotations

import base64
import io
from html import escape
from string import Template
from typing import Any

import pandas as pd

from analysis.audit_text import audit_text
from analysis.life_table import some_of
from analysis.lives_text import lives_text
from analysis.ranking import most_interesting
from analysis.stats_text import stats_text
from analysis.text import count
from analysis.trace import Trace
from probes.visible import visible

#: Lives that get a picture, and lives in the table, the busiest first.
PICTURES, LIVES = 3, 40

PAGE = Template("""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>mapcount: $name</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1250px;
       margin: 2em auto; padding: 0 1.5em; }
h1 { font-size: 1.5em; margin-bottom: 0; }
h2 { font-size: 1.15em; margin: 2em 0 .5em; border-bottom: 1px solid #ddd; }
.sub { color: #555; margin-top: .2em; }
.verdict { padding: .7em 1em; border-left: 6px solid $colour; background: #f7f7f7;
           font-size: 1.05em; margin: 1.5em 0; }
pre { font: 12.5px/1.45 ui-monospace, monospace; background: #f7f7f7; padding: .8em 1em;
      overflow-x: auto; }
.words { white-space: pre-wrap; }
img { width: 100%; border: 1px solid #eee; }
</style>
<h1>$name</h1>
<p class="sub">Linux $release, $command</p>
<p class="verdict">$verdict</p>
<h2>Findings</h2>
<pre class="words">$findings</pre>
<h2>Pictures</h2>
$pictures
<h2>Lives</h2>
<p class="sub">$lives_note</p>
<pre>$lives</pre>
<h2>The recording</h2>
<pre class="words">$stats</pre>
</html>
""")


def _verdict(trace: Trace, findings: pd.DataFrame) -> tuple[str, str]:
    """What a hurried reader must know, and its colour."""
    wrong = int((findings["severity"] == "error").sum())
    races = len(findings) - wrong
    lost = int(trace.df_losses()["lost"].sum())
    said = [
        f"{count(wrong, 'finding')} about the counters" if wrong else "The books balance",
        f"{count(races, 'race')} of readers" if races else "no reader raced",
        f"{count(lost, 'event')} lost" if lost else "nothing lost",
        *trace.warnings,
    ]
    colour = "#d7191c" if wrong else "#e8a33d" if races or lost or trace.warnings else "#2a9d4a"
    return "; ".join(said) + ".", colour


def _pictured(trace: Trace, findings: pd.DataFrame) -> list[int]:
    """Lives with errors first, then those with races, then the most interesting one."""
    ranked = findings.sort_values("severity", kind="stable")["life"].tolist()
    interesting = [most_interesting(trace)] if len(trace.lives) else []
    return list(dict.fromkeys(life for life in [*ranked, *interesting] if life >= 0))[:PICTURES]


def _picture(trace: Trace, life: int) -> str:
    from matplotlib import pyplot

    from analysis.plot.timeline import plot_timeline

    figure = plot_timeline(trace, life)
    data = io.BytesIO()
    figure.savefig(data, format="png")
    pyplot.close(figure)
    text = base64.b64encode(data.getvalue()).decode()
    return f'<img alt="timeline of life {life}" src="data:image/png;base64,{text}">'


def report_html(trace: Trace, name: str) -> str:
    """The page; ``name`` is its headline."""
    findings = trace.df_findings()
    lives = trace.df_lives()
    folios = lives[lives["order"] > 0] if (lives["order"] > 0).any() else lives
    busiest = folios.sort_values("changes", ascending=False, kind="stable").head(LIVES).sort_index()
    verdict, colour = _verdict(trace, findings)
    command = " ".join(trace.meta.get("command") or []) or "the whole machine"
    words: dict[str, Any] = {
        "name": visible(name),
        "release": visible(trace.meta.get("kernel", {}).get("release", "?")),
        "command": visible(command),
        "verdict": visible(verdict),
        "findings": audit_text(trace, trace.audit, False, "`mapcount audit --all` tells them"),
        "lives": lives_text(trace, some_of(trace.life_table(), busiest.index.to_numpy())),
        "lives_note": f"{len(busiest)} of {count(len(lives), 'life', 'lives')}, those that "
        "changed most; times in ms since the first event",
        "stats": stats_text(trace),
    }
    pictures = "\n".join(_picture(trace, life) for life in _pictured(trace, findings))
    return PAGE.substitute(
        {key: escape(str(value)) for key, value in words.items()}, colour=colour, pictures=pictures
    )
