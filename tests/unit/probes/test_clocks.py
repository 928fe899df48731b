# SPDX-License-Identifier: GPL-2.0-or-later
"""The comparison of clocks, with a file in the place of /dev/kmsg."""

import os
import time
from types import SimpleNamespace

import pytest

from probes import clocks


def test_the_clocks_are_compared_when_our_message_comes_back(tmp_path, monkeypatch):
    # GIVEN a kernel that stamps our messages with 5.000000 s, between those of others
    kmsg = tmp_path / "kmsg"
    kmsg.touch()
    lines = iter([b"6,1,4999999,-;someone else\n", None] * clocks.TRIES)

    def read(_fd, _size):
        return next(lines) or b"15,2,5000000,-;" + kmsg.read_bytes().splitlines()[-1][3:] + b"\n"

    # Of that module alone: threads that wait for a guest read from its pipes meanwhile.
    monkeypatch.setattr(clocks, "os", SimpleNamespace(**vars(os) | {"read": read}))
    # WHEN the clocks are compared
    before = time.monotonic_ns()
    found = clocks.printk_clock(str(kmsg))
    after = time.monotonic_ns()
    # THEN the middle of that microsecond is a moment of ours, known to half a call's length
    assert found["printk_ns"] == 5_000_000_500
    assert before <= found["monotonic_ns"] <= after
    assert 500 <= found["within_ns"] <= (after - before) // 2 + 500
    # AND the messages are of the level that no slow console prints
    assert all(line.startswith("<7>mapcount: ") for line in kmsg.read_text().splitlines())


def test_it_is_an_oserror_when_our_message_does_not_come_back(tmp_path):
    # GIVEN a file that swallows what is written WHEN compared THEN the recorder can go on
    kmsg = tmp_path / "kmsg"
    kmsg.touch()
    with pytest.raises(OSError, match="did not come back"):
        clocks.printk_clock(str(kmsg))
