# SPDX-License-Identifier: GPL-2.0-or-later
"""The recorder's options, and its one-line errors."""

import pytest

from probes.__main__ import main, parser
from probes.events import page_spans


@pytest.mark.parametrize(
    "text, spans",
    [
        ("5", ((5, 5),)),
        ("0x200+512", ((512, 1023),)),
        ("10,20", ((10, 19),)),
        ("1 0x10+2", ((1, 1), (16, 17))),
    ],
)
def test_page_spans_when_written_as_for_page_types(text, spans):
    # GIVEN the syntax of page-types, THEN pairs of first and last pfn
    assert page_spans(text) == spans


@pytest.mark.parametrize("text", ["", "x", "5+0", "20,10", "-1"])
def test_page_spans_when_malformed(text):
    with pytest.raises(ValueError):
        page_spans(text)


def test_parser_when_a_command_has_options_of_its_own():
    # GIVEN a command behind --
    options = parser().parse_args(["record", "-d", "3", "--", "ls", "-l", "--pid"])
    # THEN its options stay its own
    assert options.cmd == ["ls", "-l", "--pid"]
    assert options.pid == []


def test_record_when_the_command_does_not_exist(capsys, tmp_path):
    # GIVEN a command that is not there
    status = main(["record", "-o", str(tmp_path / "t"), "--", "no-such-command-here"])
    # THEN one line says so, and no trace is begun
    assert status == 1
    assert capsys.readouterr().err == (
        "error: cannot find the command no-such-command-here: give its path\n"
    )
    assert not (tmp_path / "t").exists()
