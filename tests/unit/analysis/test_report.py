# SPDX-License-Identifier: GPL-2.0-or-later
"""The HTML page: whole in itself, escaped, with the verdict on top."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from analysis.__main__ import main
from tests import mock_stories
from tests.mock import MockTrace


def _page(trace: MockTrace, folder: Path) -> str:
    path, output = trace.write(folder / "t<1>.mapcount"), folder / "t.html"
    assert main(["report", str(path), "-o", str(output)]) == 0
    assert not (folder / "t.html.partial").exists()
    return output.read_text()


def test_page_names_the_race_and_shows_it_when_a_reader_raced(tmp_path: Path) -> None:
    # GIVEN a trace with two races WHEN the page is made
    page = _page(mock_stories.seed_2015(), tmp_path)
    # THEN verdict, finding and the pictures of both lives are in it
    assert "The books balance; 2 races of readers; nothing lost." in page
    assert "page-types/900 read for" in page
    assert page.count("data:image/png;base64,") == 2
    # AND it asks for nothing from elsewhere, and takes a name for text
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<h1>t&lt;1&gt;.mapcount</h1>" in page


def test_page_is_plain_when_the_kernel_is_healthy(tmp_path: Path) -> None:
    # GIVEN a healthy trace WHEN the page is made THEN it says so, and still has a picture
    page = _page(mock_stories.lifecycle("large"), tmp_path)
    assert "The books balance; no reader raced; nothing lost." in page
    assert page.count("data:image/png;base64,") == 1


def test_page_is_made_when_nothing_was_recorded(tmp_path: Path) -> None:
    # GIVEN a trace without one event WHEN the page is made THEN it is there, without a picture
    page = _page(MockTrace(), tmp_path)
    assert "data:image" not in page
    assert "0 findings" in page


def test_output_is_refused_when_it_is_no_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN an output that is no .html WHEN asked for THEN it is a usage error
    path = str(mock_stories.seed_2015().write(tmp_path / "t.mapcount"))
    with pytest.raises(SystemExit) as stop:
        main(["report", path, "-o", str(tmp_path / "t.txt")])
    assert stop.value.code == 2
    assert "must end with .html" in capsys.readouterr().err
