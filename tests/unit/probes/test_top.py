# SPDX-License-Identifier: GPL-2.0-or-later
"""The live view: what it makes of a recording's blocks, and how it behaves without rights."""

from probes.__main__ import main
from probes.top import HEADS, Tally
from probes.tracefile import BlockType, Reader
from tests import mock_stories


def tallied(mock, path, until=lambda block: False):
    """A tally that was given a mock recording's blocks up to one."""
    tally = Tally()
    with Reader(str(mock.write(path, ring=True, block=1))) as reader:
        for block in reader.blocks():
            if block.type in (BlockType.HEADER, BlockType.TASKS, BlockType.LOSS):
                tally.json(block.type, block.json(), block.count)
            else:
                tally.block(block.type, block.payload, block.count)
            if until(block):
                break
    return tally


def rows(screen):
    """The lines of a screen's table, as dictionaries."""
    lines = [line.split() for line in screen.splitlines()[2:]]
    assert lines[0] == list(HEADS)
    return [dict(zip(HEADS, line, strict=True)) for line in lines[1:]]


def test_a_folio_is_shown_as_its_last_record_saw_it(tmp_path):
    # GIVEN a recording up to a mark at which three tasks map a huge page by a PMD each
    tally = tallied(
        mock_stories.lifecycle(),
        tmp_path / "t.mapcount",
        until=lambda block: b"forked" in bytes(block.payload),
    )
    # WHEN it is shown THEN there is one folio with three mappings of the whole
    screen = tally.screen(2.0, 10)
    (folio,) = rows(screen)
    assert (folio["HEAD"], folio["ORDER"], folio["KIND"]) == ("0x12400", "9", "anon")
    assert folio["PMD"] == "3"
    # AND the marks are no task's name
    assert "forked" not in screen
    # AND each look counts anew
    events = float(folio["EVENTS/S"])
    assert events > 0 and rows(tally.screen(2.0, 10))[0]["EVENTS/S"] == "0"


def test_nothing_is_left_when_everything_was_freed(tmp_path):
    # GIVEN a recording to its end, at which the last page is freed
    screen = tallied(mock_stories.lifecycle(), tmp_path / "t.mapcount").screen(1.0, 10)
    # THEN no folio is shown, and no table without one
    assert "0 folios and pages" in screen
    assert HEADS[0] not in screen


def test_losses_are_shown(tmp_path):
    # GIVEN a recording that lost events THEN their number is in the first line
    tally = tallied(mock_stories.lossy(), tmp_path / "t.mapcount")
    assert tally.lost > 0
    assert f"{tally.lost} lost" in tally.screen(1.0, 10).splitlines()[0]


def test_the_busiest_come_first_and_no_more_than_fit(tmp_path):
    # GIVEN hundreds of pages after a split
    tally = tallied(
        mock_stories.lifecycle(),
        tmp_path / "t.mapcount",
        until=lambda block: b"folio split" in bytes(block.payload),
    )
    # WHEN ten fit THEN ten are shown, the busiest first
    shown = [float(row["EVENTS/S"]) for row in rows(tally.screen(1.0, 10))]
    assert len(shown) == 10 and shown == sorted(shown, reverse=True)


def test_one_line_says_so_without_root(capsys, monkeypatch):
    # GIVEN an ordinary user WHEN the view is asked for THEN one line says what is needed
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["top"]) == 1
    assert capsys.readouterr().err == "error: recording needs root: run it with sudo\n"
