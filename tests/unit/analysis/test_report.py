# SPDX-License-Identifier: GPL-2.0-or-later
"""The HTML page: whole in itself, escaped, with the verdict on top."""

from __future__ import annotations

import base64
import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analysis
from analysis.__main__ import main
from analysis.page import view
from analysis.page.columns import Columns
from analysis.page.rectangles import rectangles
from tests import mock_stories
from tests.mock import MockTrace

GOLDEN = Path(__file__).parents[2] / "golden"
#: A page of a lifecycle, its library included.
MOST_BYTES = 3_000_000


def _page(trace: MockTrace, folder: Path, *options: str) -> str:
    path, output = trace.write(folder / "t<1>.mapcount"), folder / "t.html"
    assert main(["report", str(path), "-o", str(output), "-q", *options]) == 0
    assert not (folder / "t.html.partial").exists()
    return output.read_text(encoding="utf-8")


def _element(page: str, name: str) -> str:
    (text,) = re.findall(rf'<script type="[a-z/]+" id="{name}">(.*?)</script>', page, re.DOTALL)
    return str(text)


def _unpacked(page: str) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """What the page's script knows, and its columns, read as the script reads them."""
    facts = json.loads(_element(page, "facts"))
    content = gzip.decompress(base64.b64decode(_element(page, "columns")))
    columns = {}
    for name, (kind, first, length, steps) in facts["columns"].items():
        values = np.frombuffer(content, f"<{kind}", length, first).astype(np.int64)
        columns[name] = (np.cumsum(values) if steps else values).tolist()
    return facts, columns


def test_page_names_the_race_and_shows_one_of_its_kind_when_readers_raced(tmp_path: Path) -> None:
    # GIVEN a trace with two races of one kind WHEN the page is made
    page = _page(mock_stories.seed_2015(), tmp_path)
    # THEN the verdict, each finding with its link, and one picture of the kind are in it
    assert "The books balance; 2 races of readers; nothing lost." in page
    assert "page-types/900 read for" in page
    assert page.count("data:image/png;base64,") == 1
    for label in (0, 1):
        assert page.count(f'id="finding-{label}"') == 1 and f'href="#finding-{label}"' in page
    # AND it asks for nothing from elsewhere, and takes a name for text
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "<h1>t&lt;1&gt;.mapcount</h1>" in page


def test_page_tells_the_kernel_died_when_it_did(tmp_path: Path) -> None:
    # GIVEN the trace of a kernel that died in the second race of a reader WHEN the page is made
    # THEN the death comes first
    page = _page(mock_stories.crash(), tmp_path)
    verdict = page[page.index('class="verdict') :]
    assert verdict.startswith('class="verdict bad"')
    assert (
        "into the trace, in stable_page_flags() of page-types/900: "
        "page dumped because: VM_BUG_ON_PAGE(!PageHead(page))" in verdict
    )
    # AND so does its finding, in the list of kinds and in the table, with its picture
    (first, *_) = re.findall(r"<li>.*", verdict)
    assert '<a href="#finding-1">certain reader-race, in which the kernel died</a>' in first
    assert re.findall(r'<tbody id="(finding-\d)"', page) == ["finding-1", "finding-0"]
    assert "<figure>" in page[page.index('id="finding-1"') : page.index('id="finding-0"')]


def test_page_is_plain_when_the_kernel_is_healthy(tmp_path: Path) -> None:
    # GIVEN a healthy trace WHEN the page is made THEN it says so, and still has a picture
    page = _page(mock_stories.lifecycle("large"), tmp_path)
    assert "The books balance; no reader raced; nothing lost." in page
    assert page.count("data:image/png;base64,") == 1


@pytest.mark.parametrize("installed", [True, False])
def test_page_is_made_when_nothing_was_recorded(
    installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a trace without one event WHEN the page is made THEN it is there, without a picture
    monkeypatch.setattr(view, "available", lambda: installed)
    page = _page(MockTrace(), tmp_path)
    assert "data:image" not in page
    assert "0 findings" in page


def test_page_is_a_static_one_when_bokeh_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a machine without Bokeh
    monkeypatch.setitem(sys.modules, "bokeh", None)
    monkeypatch.setattr(view, "find_spec", lambda name: None)
    # WHEN the page is made THEN findings, picture and lives are there, and what would bring more
    page = _page(mock_stories.seed_2015(), tmp_path)
    assert 'id="finding-1"' in page and page.count("data:image/png;base64,") == 1
    assert "pip install bokeh" in page and 'id="facts"' not in page
    assert '<div id="static-lives">' in page


def test_page_holds_what_the_trace_holds_when_it_draws_lives(tmp_path: Path) -> None:
    # GIVEN the page of a life cycle WHEN its columns are unpacked as its script does it
    path = GOLDEN / "6.1-lifecycle.mapcount"
    assert main(["report", str(path), "-o", str(tmp_path / "t.html"), "-q"]) == 0
    page = (tmp_path / "t.html").read_text(encoding="utf-8")
    facts, columns = _unpacked(page)
    trace = analysis.open_trace(str(path))
    # THEN each life is a row of the table, and its records are there
    lives, zero = trace.df_lives(), trace.census.first_ts
    assert columns["lives.life"] == lives.index.tolist() == columns["drawn.life"]
    assert columns["lives.birth_ts"] == (lives["birth_ts"] - zero).tolist()
    # AND the first life's are in the order of time with the replay's counters
    counts = trace.counts(0)
    assert columns["drawn.records"] == [len(counts.ts), *lives["events"].tolist()[1:]]
    rows = slice(0, len(counts.ts))
    assert columns["records.ts"][rows] == (counts.ts - zero).tolist()
    assert columns["records.entire"][rows] == counts.entire.tolist()
    assert columns["records.pte"][rows] == counts.pte_total()[0].tolist()
    assert facts["first_life"] == 0 and [name for _, name in facts["marks"]][0] == "faulted"
    # AND the page is small
    assert len(page) < MOST_BYTES


def test_rectangles_say_what_the_counts_say() -> None:
    # GIVEN the counts of a folio that is split page by page WHEN they are put into rectangles
    trace = analysis.open_trace(str(GOLDEN / "6.1-lifecycle.mapcount"))
    counts = trace.counts(0)
    end = int(counts.ts[-1]) + 1
    made = rectangles(counts, end)
    # THEN painting them gives each page's count at each moment
    moments = np.unique(counts.ts)
    at = np.searchsorted(counts.ts, moments, "right") - 1
    value, known = counts.matrix(at)
    painted = np.zeros_like(value)
    for first, to, low, high, level in zip(*made.values(), strict=True):
        columns = (moments >= first) & (moments < to)
        assert (painted[low:high, columns] == 0).all()
        painted[low:high, columns] = level
    assert (painted == np.where(known, value, -1)).all()


def test_columns_are_what_they_were_when_they_are_unpacked() -> None:
    # GIVEN columns of small, large and growing numbers WHEN they are packed
    kept = {"small": [-128, 127], "large": [1 << 40, -5], "times": [7 << 30, 8 << 30], "none": []}
    columns = Columns()
    for name, values in kept.items():
        columns.add(name, values, name == "times")
    # THEN each has the smallest type that holds it, and comes back whole
    kinds = {name: kind for name, (kind, *_) in columns.index.items()}
    assert kinds == {"small": "i1", "large": "f8", "times": "f8", "none": "i1"}
    content = gzip.decompress(base64.b64decode(columns.text()))
    for name, (kind, first, length, steps) in columns.index.items():
        values = np.frombuffer(content, f"<{kind}", length, first).astype(np.int64)
        assert (np.cumsum(values) if steps else values).tolist() == kept[name]


def test_page_says_what_was_left_out_when_there_is_too_much(tmp_path: Path) -> None:
    # GIVEN five lives of which two have a finding WHEN there is room for the records of some
    page = _page(mock_stories.seed_2015(), tmp_path, "--records", "20", "--lives", "3")
    facts, columns = _unpacked(page)
    # THEN those with findings are there, and the page names the options that bring more
    trace = analysis.open_trace(str(tmp_path / "t<1>.mapcount"))
    wanted = sorted(trace.df_findings()["life"].tolist())
    assert columns["drawn.life"] == wanted and set(wanted) <= set(columns["lives.life"])
    assert len(columns["lives.life"]) == 3
    assert "--records brings more" in page and "--lives brings more" in page


def test_output_is_refused_when_it_is_no_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN an output that is no .html WHEN asked for THEN it is a usage error
    path = str(mock_stories.seed_2015().write(tmp_path / "t.mapcount"))
    with pytest.raises(SystemExit) as stop:
        main(["report", path, "-o", str(tmp_path / "t.txt")])
    assert stop.value.code == 2
    assert "must end with .html" in capsys.readouterr().err


@pytest.mark.parametrize("found", [True, False])
def test_page_is_shown_when_asked_for(
    found: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # GIVEN a machine with a browser, or without one WHEN the page is to be opened
    opened = []

    def browser(address: str) -> bool:
        opened.append(address)
        return found

    monkeypatch.setattr("webbrowser.open", browser)
    path = mock_stories.seed_2015().write(tmp_path / "t.mapcount")
    assert main(["report", str(path), "-o", str(tmp_path / "t.html"), "--open"]) == 0
    # THEN it is opened by its address, or it is said that there is none
    assert opened == [(tmp_path / "t.html").as_uri()]
    assert ("no browser was found" in capsys.readouterr().err) is not found
