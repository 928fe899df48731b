# SPDX-License-Identifier: GPL-2.0-or-later
"""What others named is only shown, by every command: it acts on no terminal, table or page."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib import cbook, pyplot
from matplotlib.figure import Figure
from matplotlib.text import Text

import analysis
from analysis.__main__ import main
from analysis.export.cells import cell
from analysis.plot.waste import plot_waste
from analysis.trace import Trace
from probes import cli
from probes.tasks import descendants, running_tasks
from probes.top import Folio
from probes.visible import visible
from tests import mock_places, mock_stories
from tests.hostile_text import NAMES, TAME, acts, forged
from tests.mock import MockTrace
from tests.mock_kernel import MockKernel

ROOT = Path(__file__).parents[2]
#: The commands that print, and how.
PRINTING = (
    ["stats"], ["dump"], ["lives", "--all"], ["audit", "--all"], ["audit", "--json"], ["verify"],
    ["waste", "--all"], ["where", "--all"], ["holders", "--all"],
)  # fmt: skip
ALL = " ".join(NAMES.values())

every_name = pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)


@every_name
def test_text_is_on_one_line_and_does_nothing_when_it_is_shown(name: str) -> None:
    # GIVEN a name WHEN it is made visible THEN it is one line that only shows
    shown = visible(name)
    assert not acts(shown) and "\n" not in shown
    # AND it stays as it is where it was harmless
    if not acts(name) and "\n" not in name:
        assert shown == name


@every_name
@pytest.mark.parametrize("command", PRINTING, ids=" ".join)
def test_names_only_show_when_a_command_prints(
    name: str, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a trace in which everything has a hostile name, and one in which all names are tame
    said, lines = [], []
    for number, each in enumerate((name, TAME)):
        path = forged(each).write(tmp_path / f"{number}")
        # WHEN a command prints it
        main([command[0], str(path), *command[1:]])
        done = capsys.readouterr()
        said.append(done.out + done.err)
        lines.append((len(done.out.splitlines()), len(done.err.splitlines())))
    # THEN nothing in it acts, no line was added, and nobody speaks in our name
    assert not acts(said[0])
    assert lines[0] == lines[1]
    assert "a bug in mapcount" not in said[0]
    assert not re.search("^error: forged", said[0], re.MULTILINE)


@every_name
def test_names_only_show_when_they_are_files(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a file's name, of a trace and of none
    if "\ud800" in name or "/" in name:
        name = name.replace("\ud800", "").replace("/", "_")
    path = forged(TAME).write(tmp_path / name)
    for command in (["stats", str(path)], ["stats", str(tmp_path / f"no{name}")],
                    ["slice", str(path), "-o", str(tmp_path / f"o{name}")], ["stats", name, name],
                    ["slice", str(path), "--pfn", name, "-o", "x"], [name]):  # fmt: skip
        # WHEN a command tells of it
        try:
            main(command)
        except SystemExit as usage:
            assert usage.code == 2
        done = capsys.readouterr()
        # THEN each message is a line of its own, in which nothing acts
        assert not acts(done.out + done.err)
        for line in done.err.splitlines():
            assert line.startswith(("error: ", "warning: ")) and "error: forged" not in line[:14]


def wasteful(name: str) -> MockTrace:
    """A task of this name leaves half of a folio mapped."""
    trace = MockTrace("large")
    trace.tasks = [(100, 100, name)]
    kernel = MockKernel(trace)
    folio = kernel.alloc(mock_stories.HEAD)
    kernel.map_pte(folio, 100, 0, folio.pages)
    kernel.unmap_pte(folio, 100, 0, folio.pages // 2)
    kernel.emit("deferred", folio)
    head = trace.header()
    head["kernel"]["release"] = head["command"][0] = name
    trace.header = lambda: head  # type: ignore[method-assign]
    return trace


PICTURES = {
    "where": (mock_places.story, analysis.plot_where),
    "timeline": (forged, lambda trace: analysis.plot_timeline(trace, 0)),
    "waste": (wasteful, plot_waste),
}


@pytest.mark.parametrize(("story", "draw"), PICTURES.values(), ids=PICTURES)
def test_names_are_no_markup_and_no_mathematics_in_pictures(
    tmp_path: Path, story: Callable[[str], MockTrace], draw: Callable[[Trace], Figure]
) -> None:
    for name in (NAMES["is broken mathematics"], NAMES["is mathematics"], ALL):
        # GIVEN a trace in which everything has a hostile name WHEN its picture is drawn
        trace = analysis.open_trace(str(story(name).write(tmp_path / "t")))
        figure = draw(trace)
        # THEN the texts in it do not act, and dollars are dollars
        for text in figure.findobj(Text):
            assert not acts(text.get_text())
            assert not cbook.is_math_text(text.get_text())
        pyplot.close(figure)


@pytest.mark.parametrize("output", ["t.png", "t.html"])
def test_no_warning_of_python_is_seen_when_a_font_lacks_a_glyph(
    output: str, tmp_path: Path
) -> None:
    # GIVEN names in scripts that the font does not have
    path = forged(NAMES["has no glyph"]).write(tmp_path / "t")
    # WHEN they are drawn by a process of its own, as users start it
    command = "report" if output.endswith("html") else "timeline"
    done = subprocess.run(
        [sys.executable, "-m", "analysis", command, path, "-q", "-o", tmp_path / output],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    # THEN stderr has nothing to say
    assert done.stderr == ""


def test_names_are_text_in_a_page(tmp_path: Path) -> None:
    # GIVEN a trace in which everything has all hostile names WHEN the page is made
    path, output = forged(ALL).write(tmp_path / "t"), tmp_path / "t.html"
    assert main(["report", str(path), "-o", str(output), "-q"]) == 0
    page = output.read_text(encoding="utf-8")
    # THEN nothing in it acts, and no name became a tag of its own or ended one of ours
    assert not acts(page)
    tame = tmp_path / "tame.html"
    path = forged(TAME).write(tmp_path / "tame")
    assert main(["report", str(path), "-o", str(tame), "-q"]) == 0
    assert _tags(page) == _tags(tame.read_text(encoding="utf-8"))
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def _tags(page: str) -> Counter[tuple[str, tuple[str, ...]]]:
    """How often each tag is there with which attributes."""
    found: Counter[tuple[str, tuple[str, ...]]] = Counter()

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            # An option is there for each name that differs.
            if tag != "option":
                found[tag, tuple(name for name, _ in attrs)] += 1

    Reader().feed(page)
    return found


@every_name
def test_no_cell_is_a_formula_when_events_become_csv(name: str, tmp_path: Path) -> None:
    # GIVEN a trace in which everything has a hostile name WHEN it is exported as CSV
    path, output = forged(name).write(tmp_path / "t"), tmp_path / "t.csv"
    assert main(["export", str(path), "--to", "csv", "-o", str(output), "-q"]) == 0
    text = output.read_text(encoding="utf-8")
    # THEN nothing in it acts, and a cell that begins as a formula does is a number
    assert not acts(text)
    for row in csv.reader(text.splitlines()):
        for value in row:
            assert not value.startswith(("=", "+", "-", "@")) or re.fullmatch(r"-\d+", value)


def test_a_cell_is_neutral_only_where_it_must_be() -> None:
    # GIVEN texts for a table WHEN they would run THEN they begin with an apostrophe
    assert [cell(text) for text in ("=1", "-x", "a=1", "\t=1")] == ["'=1", "'-x", "a=1", "\\t=1"]


@every_name
@pytest.mark.parametrize("to", ["perfetto", "parquet"])
def test_export_is_read_by_others_whatever_the_names(name: str, to: str, tmp_path: Path) -> None:
    # GIVEN a trace in which everything has a hostile name WHEN it is exported THEN it is whole
    path, output = forged(name).write(tmp_path / "t"), tmp_path / "out"
    assert main(["export", str(path), "--to", to, "-o", str(output), "-q"]) == 0
    if to == "perfetto":

        def check(value: Any) -> None:
            if isinstance(value, dict):
                for each in value.values():
                    check(each)
            elif isinstance(value, list):
                for each in value:
                    check(each)
            else:
                assert not acts(str(value))

        check(json.loads(output.read_text()))


@every_name
def test_names_only_show_on_the_live_screen(name: str) -> None:
    # GIVEN a task and a function of a hostile name WHEN `top` makes its line
    cells = Folio(1, name).cells(0x1000, 1.0, False, {0: name})
    # THEN nothing in it acts
    assert not acts("".join(cells)) and "\n" not in "".join(cells)


@every_name
def test_a_message_is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    # GIVEN a message with a hostile name, of any program WHEN it is told THEN it is one line
    cli.tell("warning", f"mark {name}: no snapshot")
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and not acts(err)


def test_a_task_whose_name_is_no_text_is_listed() -> None:
    # GIVEN a thread that gave itself bytes for a name that are no UTF-8
    path = f"/proc/self/task/{threading.get_native_id()}/comm"
    before = Path(path).read_bytes()
    Path(path).write_bytes(b"\xff\x1b[31m")
    try:
        # WHEN the recorder lists the tasks THEN it is there, and its parent is found as well
        names = {tid: comm for tid, _, comm in running_tasks()}
        assert names[threading.get_native_id()] == "\ufffd\x1b[31m"
        assert os.getpid() in descendants([os.getppid()])
    finally:
        Path(path).write_bytes(before)
