# SPDX-License-Identifier: GPL-2.0-or-later
"""The findings of an audit as the data frame of ``Trace.df_findings``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.arrays import Ints
from analysis.audit.finding import Finding
from analysis.audit.rules import CERTAINTIES, RULES, SEVERITIES
from analysis.columns import category, integers, integers_or_na, texts
from analysis.part import Part
from analysis.parties import Parties
from analysis.time_order import Rank


def _rows(values: list[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def _labels(rank: Rank, rows: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(rank[list(rows)].tolist())


def findings_frame(trace: Part, findings: list[Finding]) -> pd.DataFrame:
    """Build the frame; the columns are described at ``Trace.df_findings``."""
    rank = trace.log.rank
    shown, pid = _rows([one.rows[0] for one in findings]), _rows([one.pid for one in findings])
    actor = Parties(trace, _rows([one.actor for one in findings]), shown, pid)
    other = Parties(trace, _rows([one.other for one in findings]), shown, np.full_like(pid, -1))
    sentence = [
        one.words.format(
            actor=who, other=second, function=f"{function}()" if function else "?", event=rank
        )
        for one, who, second, function in zip(
            findings, actor.names(), other.names(), actor.function, strict=True
        )
    ]
    ts = trace.log.ts
    rules = [RULES[one.rule] for one in findings]
    doubt = [one.doubt for one in findings]

    def values(name: str) -> Any:
        return integers_or_na([getattr(one, name) for one in findings])

    return pd.DataFrame(
        {
            "rule": category(_rows([list(RULES).index(one.rule) for one in findings]), list(RULES)),
            "severity": category(
                _rows([SEVERITIES.index(rule.severity) for rule in rules]), SEVERITIES
            ),
            "certainty": category(_rows([int(bool(text)) for text in doubt]), CERTAINTIES),
            "reason": texts(doubt),
            "life": _rows([one.life for one in findings]),
            "pfn": _rows([one.pfn for one in findings]),
            "ts": _rows([int(ts[one.rows[0]]) for one in findings]),
            "end_ts": _rows([int(ts[one.rows[-1]]) for one in findings]),
            "seen_ts": _rows([one.seen or int(ts[one.rows[-1]]) for one in findings]),
            "function": texts(
                one.inside or function
                for one, function in zip(findings, actor.function, strict=True)
            ),
            "comm": texts(actor.comm),
            "tid": actor.tid,
            "pid": actor.pid,
            "stack": integers(actor.stack, actor.has_stack),
            "other_function": texts(other.function),
            "other_comm": texts(
                c if t else "" for c, t in zip(other.comm, other.there, strict=True)
            ),
            "other_tid": integers(other.tid, other.there, np.int64),
            "counter": texts(one.counter for one in findings),
            "expected": values("expected"),
            "observed": values("observed"),
            "events": pd.Series([_labels(rank, one.rows) for one in findings], dtype=object),
            "died": np.array([one.died for one in findings], dtype=bool),
            "sentence": texts(sentence),
            "rests_on": texts(rule.rests_on for rule in rules),
        }
    )
