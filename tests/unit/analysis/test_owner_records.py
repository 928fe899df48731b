# SPDX-License-Identifier: GPL-2.0-or-later
"""Owner records: what a record's operation maps for, told by the record before it."""

from pathlib import Path

import pytest

import analysis
from analysis import recording as recording_module
from analysis.verify import verify
from tests.mock import MockTrace
from tests.mock_kernel import MockKernel

HEAD = 0x10000


def told(path: Path) -> list[tuple[str, int]]:
    """(function, id of the mm) of each record that has an owner record."""
    log = analysis.open_trace(str(path)).log
    value, there = log.owner("mm_id")
    names = [log.plan.functions[code] for code in log.function[there]]
    return list(zip(names, value[there].tolist(), strict=True))


def story() -> MockTrace:
    """A folio that two processes map; the other CPU looks at it in the same nanosecond."""
    trace = MockTrace("large")
    kernel = MockKernel(trace)
    folio = kernel.alloc(HEAD)
    trace.owner(HEAD, 7)
    kernel.map_pmd(folio, 100, new=True)
    trace.owner(HEAD, 8, tid=200, cpu=1)
    trace.record("read", HEAD, order=9, entire=1, large=1, tid=100)
    trace.now -= 1000
    trace.record("map_anon", HEAD, order=9, entire=1, large=1, level="pmd", nr=0, tid=200,
                 anon=True, nr_mapped=0x800000, refcount=512, cpu=1)  # fmt: skip
    folio.pmds.append(200)
    kernel.snapshot("end")
    return trace


def test_owner_when_another_cpus_record_is_between(tmp_path: Path) -> None:
    # GIVEN owner records before two mappings, one of them not directly WHEN the log is read
    found = told(story().write(tmp_path / "t"))
    # THEN each is found by the mapping that it is of
    assert found == [("folio_add_new_anon_rmap", 7), ("folio_add_anon_rmap_ptes", 8)]


def test_owner_records_when_the_trace_is_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a trace that is read frame by frame
    trace = story()
    monkeypatch.setattr(recording_module, "PART", 1)
    opened = analysis.open_trace(str(trace.write(tmp_path / "t")))
    # THEN an owner record is in the part of its page, and no life's, and nothing differs
    (part, _), *others = opened.parts()
    assert part.log.owner("mm_id")[1].sum() == 2
    assert (part.lives.of[part.log.raw["probe"] == 0xFF04] == -1).all()
    assert len(verify(opened).differences) == 0


def test_dump_when_there_are_owner_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN owner records WHEN the file is dumped THEN each is a line that tells the mm
    from analysis.__main__ import main

    assert main(["dump", str(story().write(tmp_path / "t"))]) == 0
    assert " owner pfn=0x10000 mm_id=7" in capsys.readouterr().out
