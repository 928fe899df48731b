# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of vm.boots: what a boot may take, by what boots took."""

from pathlib import Path

import pytest

from vm import boots


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "mapcount"


def test_limit_when_the_guest_never_booted() -> None:
    assert boots.limit("new") == boots.FIRST_SECONDS


def test_limit_when_the_guest_booted_before() -> None:
    # GIVEN boots of two guests, one of which hung once
    for boot in (("slow", 40.0, False), ("slow", 900.0, True), ("quick", 3.0, False)):
        boots.add(boots.Boot(*boot))
    # THEN each may take a multiple of its own longest one, whatever a hang took, and some time
    assert boots.limit("slow") == 40.0 * boots.TIMES
    assert boots.limit("quick") == boots.LEAST_SECONDS


def test_history_when_it_is_long_or_damaged(cache: Path) -> None:
    # GIVEN more boots than are kept THEN the newest are
    for number in range(boots.KEPT + 5):
        boots.add(boots.Boot("guest", float(number)))
    assert [boot.seconds for boot in boots.history()] == [*map(float, range(5, boots.KEPT + 5))]
    # AND what cannot be read is no history
    for text in ("{", "[1]", '[{"guest": "x"}]'):
        (cache / "boots.json").write_text(text)
        assert boots.history() == []
