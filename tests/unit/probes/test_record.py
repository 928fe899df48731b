# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recording makes of a kernel that refuses probes."""

import re
from types import SimpleNamespace

import pytest

from probes.errors import ProbeError
from probes.plan import NO_SYMBOL, Missing, Plan
from probes.probe import KPROBE, RAW_TRACEPOINT
from probes.record import Recording, Request
from probes.tracefile import BlockType


class FakeProgram:
    """Attaches what has none of the refused words in its function's name."""

    def __init__(self, *refused):
        self.refused = refused
        self.all_brackets = False

    def tell_brackets(self):
        self.all_brackets = True

    def attach(self, probe):
        return "no kprobes" if any(word in probe.function for word in self.refused) else None


def recording_with(*refused):
    recording = Recording(Request(), writer=None)
    recording.plan = Plan()
    for function, op in (
        ("folio_add_anon_rmap_ptes", "map"),
        ("folio_add_file_rmap_ptes", "map"),
        ("folio_remove_rmap_ptes", "unmap"),
    ):
        what = {
            **{"attach": KPROBE, "offset": 0, "handler": "", "values": ()},
            **{"phase": "point", "group": "rmap"},
        }
        recording.plan.add(function=function, op=op, **what)
    what = {**what, "attach": RAW_TRACEPOINT, "group": "life"}
    recording.plan.add(function="mm_page_alloc", op="alloc", **what)
    recording.program = FakeProgram(*refused)
    return recording


@pytest.mark.parametrize(
    "refused, reason, told",
    [
        ((), "", False),
        (("copy_page_range",), "", True),
        ((), "its inlined counter update was not found in the kernel's text", True),
        ((), NO_SYMBOL, False),
    ],
)
def test_brackets_when_copies_cannot_be_seen(refused, reason, told):
    # GIVEN a probe on fork's copies that is attached or refused, and others that may be missing
    recording = recording_with(*refused)
    recording.plan.add(
        **{"function": "copy_page_range", "op": "dup", "attach": KPROBE, "offset": 7},
        **{"handler": "on_site", "values": (), "phase": "point", "group": "dup"},
    )
    if reason:
        recording.plan.missing.append(Missing("dup", ("copy_hugetlb_page_range",), reason, ""))
    # WHEN the plan is attached THEN all brackets are asked for where a copy may go unseen
    recording._attach()
    assert recording.program.all_brackets == told


@pytest.mark.parametrize("refused, op", [("rmap", "map"), ("add", "map"), ("remove", "unmap")])
def test_recording_when_no_probe_of_an_operation_is_attached(refused, op):
    # GIVEN a kernel that takes tracepoints, and no probe of one way to change a map count
    recording = recording_with(refused)
    # WHEN the plan is attached THEN that is an error which names the operation and the reason
    with pytest.raises(ProbeError, match=f"operation {op} .*no kprobes.*mapcount doctor"):
        recording._attach()


def test_recording_when_one_of_several_is_refused():
    # GIVEN a kernel that refuses one of the functions that map
    recording = recording_with("file")
    # WHEN the plan is attached THEN the rest is, and what is not is told
    recording._attach()
    assert len(recording.plan.probes) == 3
    assert [gap.functions for gap in recording.plan.missing] == [("folio_add_file_rmap_ptes",)]


def test_what_was_lost_is_written_before_the_snapshot_that_it_explains():
    # GIVEN a recording in which records and runs of probes are lost while a snapshot is taken
    happened = []
    told = {"from": 1, "to": 2, "lost": [(0, 1, 1)]}
    recording = Recording(Request(), writer=None)
    recording.drain = SimpleNamespace(now=lambda: happened.append("drained"))
    recording.losses = recording.misses = SimpleNamespace(
        poll=lambda: told if "snapshot" in happened else None
    )
    recording.outside = recording.returns = SimpleNamespace(poll=lambda: None)
    recording.snapshots = SimpleNamespace(take=lambda *_: happened.append("snapshot") or b"pages")
    recording.writer = SimpleNamespace(
        json=lambda type_, *_: happened.append(type_),
        block=lambda type_, *_, **__: happened.append(type_),
    )
    # WHEN it is taken
    recording._take(SimpleNamespace(processes=[], torn={}), "mark")
    # THEN what came before it is in the file, and a recorder that dies after it has told of both
    assert happened == ["drained", "snapshot", BlockType.LOSS, BlockType.LOSS, BlockType.TRUTH]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("losses", "7 events were lost: .*--buffer 32"),
        ("misses", "skipped probes 7 times, .*interrupted.*--only GROUP.*mapcount stats"),
        ("returns", "7 returns were missed, .*4096 tasks"),
        ("outside", "7 folios lay in memory that came online"),
    ],
)
def test_a_recording_that_lacks_something_says_what_helps(kind, words):
    # GIVEN a recording of which something was lost, skipped, or lay outside of the watch set
    recording = Recording(Request(), writer=None)
    recording.shape = SimpleNamespace(all_ring_bytes=8 << 20)
    for each in ("losses", "misses", "returns", "outside"):
        setattr(recording, each, SimpleNamespace(total=7 if each == kind else 0))
    # WHEN it ends THEN that alone is told
    (told,) = recording.incomplete()
    assert re.search(words, told)
