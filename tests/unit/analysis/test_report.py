# SPDX-License-Identifier: GPL-2.0-or-later
"""The HTML page: whole in itself, escaped, with the verdict on top."""

from __future__ import annotations

import base64
import gzip
import json
import re
import sys
from errno import EAGAIN
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analysis
from analysis import where_frame
from analysis.__main__ import main
from analysis.page import view
from analysis.page import where as page_where
from analysis.page.columns import Columns
from analysis.page.rectangles import rectangles
from tests import mock_places, mock_stories
from tests.mock import MockTrace
from tests.mock_kernel import MockKernel
from tests.mock_stories import HEAD, PARENT, READER

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
    assert "The counters agree with the operations; 2 races of readers; nothing lost." in page
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
    # GIVEN a healthy trace WHEN the page is made THEN it says so, and still has a life's picture
    page = _page(mock_stories.lifecycle("large"), tmp_path)
    assert "The counters agree with the operations; no reader raced; nothing lost." in page
    assert page.count('alt="timeline of life 0') == 1


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
    assert "--records N raises this" in page and "--lives N raises this" in page


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


def _section(page: str, name: str) -> str:
    """A section of the page."""
    (text,) = re.findall(rf'<section id="{name}">(.*?)</section>', page, re.DOTALL)
    return str(text)


def _command(capsys: pytest.CaptureFixture[str], folder: Path, command: str) -> str:
    """What a command says of the same trace."""
    capsys.readouterr()
    assert main([command, str(folder / "t<1>.mapcount"), "-q"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("installed", [True, False])
def test_page_tells_where_when_the_trace_does(
    installed: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # GIVEN a trace with places, in which parts of a folio are moved, and a mapping with a hostile
    # name WHEN its page is made, with Bokeh and without
    monkeypatch.setattr(view, "available", lambda: installed)
    page = _page(mock_places.story("<script>alert(1)</script>"), tmp_path)
    # THEN where tells first what the command tells of the mark at which most is mapped
    where = _section(page, "where")
    assert '<a href="#where">Where</a>' in page
    heads = [
        line for line in _command(capsys, tmp_path, "where").splitlines() if " trace): " in line
    ]
    assert len(heads) == 4
    (first,) = re.findall(r"<p>(.*?)</p>", where)
    assert first == f"Most is mapped at {heads[1]}" and heads[1].startswith("parts (")
    # AND below the picture each other mark has its table, and names are text
    assert re.findall(r"<details><summary>(.*?)</summary>", where) == [*heads[:1], *heads[2:]]
    assert where.count("data:image/png;base64,") == 1
    assert "<script" not in where and "&lt;script&gt;alert(1)" in where


def test_page_tells_waste_when_a_folio_is_partially_mapped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a life cycle in which a folio is partially mapped WHEN its page is made
    page = _page(mock_stories.lifecycle("large"), tmp_path)
    # THEN it tells the sum and the process first, as the command does, and has its picture
    waste = _section(page, "waste")
    (summary, *_) = _command(capsys, tmp_path, "waste").splitlines()
    assert "1 folio partially mapped: at most 256 KiB" in summary
    assert waste.index(f"<p>{summary}</p>") < waste.index(f"<td class=num>{PARENT}</td>")
    assert waste.index(f"<td class=num>{PARENT}</td>") < waste.index("data:image/png;base64,")
    assert waste.count("data:image/png;base64,") == 1
    assert '<a href="#waste">Waste</a>' in page


def test_page_tells_where_of_some_marks_when_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a page that has room for two marks of four, and none for the picture
    monkeypatch.setattr(page_where, "MARKS", 2)
    monkeypatch.setattr(page_where, "DRAWN", 3)
    # WHEN it is made THEN it tells of two, and which command tells the rest
    where = _section(_page(mock_places.story(), tmp_path), "where")
    assert "2 of 4 marks; <code>mapcount where</code> prints them all" in where
    assert "changes of mappings: <code>mapcount where -o FILE.png</code> draws them" in where
    assert "data:image" not in where
    assert "whole (" in where and "exec (" in where and "parts (" not in where
    # AND where even one mark has too many places, that is said
    monkeypatch.setattr(where_frame, "MOST", 1)
    where = _section(_page(mock_places.story(), tmp_path, "-f"), "where")
    assert "has more than 1 places" in where and "<table>" not in where


def test_page_tells_who_holds_when_a_folio_is_held(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a folio that is pinned, a split that gives up on it, and another one that is not held
    trace = MockTrace("large", pins=True)
    trace.tasks.append((READER, READER, "<b>pinner"))
    kernel = MockKernel(trace)
    folio, free = kernel.alloc(HEAD), kernel.alloc(HEAD + 512)
    for one in (folio, free):
        kernel.map_pmd(one, PARENT, new=True)
    kernel.snapshot("before", (PARENT,))
    kernel.pin(folio, READER, 7)
    kernel.snapshot("pinned", (PARENT,))
    kernel.refuse("split", folio, PARENT, -EAGAIN)
    # WHEN the page is made
    page = _page(trace, tmp_path)
    # THEN it begins with what the command begins with, and with who gave up because of whom
    holders = _section(page, "holders")
    (summary, *_) = _command(capsys, tmp_path, "holders").splitlines()
    assert f"<p>{summary}</p>" in holders
    assert summary == (
        "1 folio with references besides mappings and caches (1 pinned, 0 with unexplained ones), "
        "at 1 of 2 marks; 1 try to split or move 1 folio gave up"
    )
    assert f"<td>&lt;b&gt;pinner/{READER} pinned 7</td>" in holders
    # AND it draws the held folio, and has it alone in the table of the mark at which it was held
    assert holders.count("data:image/png;base64,") == 1
    (mark,) = re.findall(r"<details open><summary>(mark .*?)</summary>", holders)
    assert mark.startswith("mark pinned, ") and mark.endswith(": 1 folio held")
    assert f"{HEAD:#x}" in holders and f"{HEAD + 512:#x}" not in holders
    assert '<a href="#holders">Who holds</a>' in page


def test_page_says_that_nobody_holds_when_pins_were_looked_for(tmp_path: Path) -> None:
    # GIVEN a recording with pins in which there are none WHEN its page is made THEN that is said
    trace = MockTrace("large", pins=True)
    kernel = MockKernel(trace)
    kernel.map_pmd(kernel.alloc(HEAD), PARENT, new=True)
    kernel.snapshot("mapped", (PARENT,))
    holders = _section(_page(trace, tmp_path), "holders")
    assert "0 folios with references besides mappings and caches, at 0 of 1 mark" in holders
    assert "data:image" not in holders


def test_page_has_no_section_when_the_trace_tells_nothing_of_it(tmp_path: Path) -> None:
    # GIVEN a folio that is mapped and unmapped as a whole WHEN the page is made
    trace = MockTrace("large")
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD)
    kernel.map_pmd(folio, PARENT, new=True)
    kernel.snapshot("mapped", (PARENT,))
    # THEN it tells of no places, no waste and no holders
    page = _page(trace, tmp_path)
    for name in ("where", "waste", "holders"):
        assert f'id="{name}"' not in page and f'"#{name}"' not in page
