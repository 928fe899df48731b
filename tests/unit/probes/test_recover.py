# SPDX-License-Identifier: GPL-2.0-or-later
"""Recovery from a core that a test wrote: what was in the ring comes back once, or is counted."""

import os

import pytest

import analysis
from probes.__main__ import main
from probes.events import SLOT_SIZE
from probes.tracefile import BlockType, Writer
from tests.mock_crash import FRAMES, PAGE, SLOTS, DeadKernel

CONSOLE = """\
[    0.000000] Linux version 6.1.0
[   12.000100] page dumped because: VM_BUG_ON_PAGE(!PageHead(page))
[   12.000200] kernel BUG at include/linux/page-flags.h:850!
[   12.000900] Kernel panic - not syncing: Fatal exception
"""


@pytest.fixture
def kernel(tmp_path):
    return DeadKernel(tmp_path)


def test_records_come_back_when_the_ring_was_not_drained(kernel, capsys):
    # GIVEN ten records in the file, and five more in the ring of a dead kernel
    kernel.put(10)
    kernel.drain()
    kernel.put(5)
    kernel.die()
    before = open(kernel.trace, "rb").read()
    # WHEN they are recovered
    assert kernel.recover() == 0
    # THEN these five are added, and what was there is as it was
    assert kernel.recovered() == [10, 11, 12, 13, 14]
    assert open(kernel.trace, "rb").read().startswith(before)
    assert capsys.readouterr().out == "5 events recovered\n"
    assert kernel.note() == {"events": 5, "busy": 0, "unreadable": 0, "overwritten": 0,
                             "from": 10 * SLOT_SIZE, "to": 15 * SLOT_SIZE, "cut": 0}  # fmt: skip


def test_records_come_back_when_the_ring_has_wrapped_around(kernel):
    # GIVEN a ring that was filled twice over, its slots across pages and across its end
    for _ in range(5):
        kernel.put(SLOTS // 2)
        kernel.drain()
    kernel.put(SLOTS - 1)
    kernel.die()
    # WHEN recovered THEN every record is there, in order
    kernel.recover()
    first = 5 * (SLOTS // 2)
    assert kernel.recovered() == list(range(first, first + SLOTS - 1))


def test_every_ring_is_recovered_when_there_are_several(tmp_path, capsys):
    # GIVEN three rings, of which one was drained, one has wrapped around, and one is as it began
    kernel = DeadKernel(tmp_path, rings=3)
    kernel.put(4, ring=1)
    for ring in (2, 0, 2):
        kernel.put(SLOTS // 2, ring=ring)
        kernel.drain(ring=ring)
    kernel.put(5, ring=2)
    kernel.die()
    console = tmp_path / "console"
    console.write_text(CONSOLE)
    # WHEN recovered, and once more
    assert kernel.recover("--console", str(console)) == 0
    assert capsys.readouterr().out.startswith("9 events recovered, the kernel said")
    assert kernel.recover("--console", str(console)) == 0
    # THEN what was left in each ring is there once, under its number, beside the last words
    first = 2 * (SLOTS // 2)
    assert [kernel.recovered(ring) for ring in range(3)] == [
        [], [0, 1, 2, 3], list(range(first, first + 5)),
    ]  # fmt: skip
    assert {ring: note["events"] for ring, note in kernel.notes().items()} == {1: 4, 2: 5}
    assert [block.type for block, _ in kernel.blocks()].count(BlockType.OOPS) == 1
    # AND a reader adds up what was recovered
    assert analysis.open_trace(kernel.trace).recovery["events"] == 9


def test_the_core_is_refused_when_one_of_its_rings_is_of_another_crash(tmp_path, capsys):
    # GIVEN a core of which the second ring has not what the trace has
    kernel = DeadKernel(tmp_path, rings=2)
    kernel.put(5, ring=1)
    kernel.drain(ring=1)
    kernel.memory[kernel.frames[1][2]][20] ^= 1
    kernel.die()
    # WHEN recovered THEN it is refused
    assert kernel.recover() == 1
    assert "does not belong to" in capsys.readouterr().err


def test_records_come_once_when_recovered_twice(kernel, capsys):
    # GIVEN a trace that has been completed
    kernel.put(3)
    kernel.die()
    assert kernel.recover() == 0
    capsys.readouterr()
    whole = open(kernel.trace, "rb").read()
    # WHEN it is done again THEN nothing is added, and one line says so
    assert kernel.recover() == 0
    assert open(kernel.trace, "rb").read() == whole
    assert capsys.readouterr().out.startswith("nothing to recover")


def test_nothing_is_added_when_the_recorder_had_drained_all(kernel, capsys):
    # GIVEN an empty ring
    kernel.put(3)
    kernel.drain()
    kernel.die()
    # WHEN recovered THEN there is nothing to add
    assert kernel.recover() == 0
    assert kernel.recovered() == []
    assert capsys.readouterr().out.startswith("nothing to recover")


def test_nothing_is_added_when_the_recorder_had_ended_in_order(kernel, capsys):
    # GIVEN a trace with its trailer, and the core of a crash that came later
    kernel.put(3)
    kernel.drain()
    with Writer(kernel.trace, at=kernel.end) as writer:
        writer.json(BlockType.TRAILER, {"events": 3})
    whole = open(kernel.trace, "rb").read()
    kernel.put(2)
    kernel.die()
    # WHEN recovered THEN what is in the core is none of the trace's business
    assert kernel.recover() == 0
    assert open(kernel.trace, "rb").read() == whole
    assert "ended in order" in capsys.readouterr().out


def test_a_record_is_counted_when_it_was_being_written(kernel, capsys):
    # GIVEN a record that its probe had not finished, between two that are whole
    kernel.put(1)
    kernel.put(1, busy=True)
    kernel.put(1)
    kernel.die()
    # WHEN recovered THEN the whole ones come, and the other is told
    kernel.recover()
    assert kernel.recovered() == [0, 2]
    assert kernel.note()["busy"] == 1
    assert "1 being written when the kernel died" in capsys.readouterr().out


def test_records_are_counted_when_the_core_lacks_their_frame(kernel):
    # GIVEN a core without the second page of the ring's data, into which two slots reach
    kernel.put(SLOTS)
    kernel.die(missing=(8,))
    # WHEN recovered THEN the slots that touch it are counted, all others come
    kernel.recover()
    touched = [n for n in range(SLOTS) if n * SLOT_SIZE < 2 * PAGE and (n + 1) * SLOT_SIZE > PAGE]
    assert kernel.recovered() == [n for n in range(SLOTS) if n not in touched]
    assert kernel.note()["unreadable"] == len(touched)


def test_records_are_counted_when_the_core_is_cut_short(kernel):
    # GIVEN a core of which the last page (the ring's end) was not written whole
    kernel.put(SLOTS)
    kernel.die(cut=100)
    # WHEN recovered THEN what lies before that page comes
    kernel.recover()
    assert kernel.recovered() == list(range(3 * PAGE // SLOT_SIZE))


def test_records_are_counted_when_the_file_lost_more_than_the_ring_holds(kernel, capsys):
    # GIVEN a machine that died before its disk had the newest blocks of the file
    kernel.put(10)
    kernel.drain()
    end, drained = kernel.end, kernel.drained
    kernel.put(SLOTS)
    kernel.drain()
    kernel.put(20)
    with open(kernel.trace, "r+b") as file:
        file.truncate(end)
    kernel.die()
    # WHEN recovered THEN the newest ring of records comes, and the gap before it is counted
    kernel.recover()
    assert kernel.recovered() == list(range(30, SLOTS + 30))
    assert kernel.note()["overwritten"] == 20
    assert kernel.note()["from"] == drained
    assert "20 overwritten" in capsys.readouterr().out


def test_the_torn_block_is_cut_off_when_the_kernel_died_writing_it(kernel, capsys):
    # GIVEN a file that ends inside its last block; the ring still has the block's records
    kernel.put(4)
    kernel.drain()
    whole = kernel.end
    kernel.put(3)
    kernel.drain()
    with open(kernel.trace, "r+b") as file:
        file.truncate(kernel.end - 7)
    kernel.die()
    # WHEN recovered THEN the block is replaced by its records, and this is told
    kernel.recover()
    assert kernel.recovered() == [4, 5, 6]
    assert kernel.note()["cut"] == kernel.end - 7 - whole
    assert "an unfinished block" in capsys.readouterr().out


def test_a_recovery_begins_anew_when_one_was_broken_off(kernel):
    # GIVEN a recovery of which only the records got into the file
    kernel.put(4)
    kernel.die()
    kernel.recover()
    with open(kernel.trace, "r+b") as file:
        file.truncate(kernel.blocks()[-1][0].offset)
    # WHEN it is done again THEN nothing is there twice
    kernel.recover()
    assert kernel.recovered() == [0, 1, 2, 3]


def test_the_last_words_are_added_when_there_is_a_console(kernel, capsys):
    # GIVEN what the kernel printed
    console = kernel.folder / "console"
    console.write_text(CONSOLE)
    kernel.put(2)
    kernel.die()
    # WHEN recovered with it
    kernel.recover("--console", str(console))
    # THEN the lines from the complaint on are in the file, with the time of the first in both
    # clocks
    words = [block.json() for block, _ in kernel.blocks() if block.type == BlockType.OOPS]
    assert words == [
        {
            "lines": CONSOLE.splitlines()[1:],
            "printk_ns": 12_000_100_000,
            "monotonic_ns": 12_500_100_000,
            "within_ns": 4000,
        }
    ]
    assert "the kernel said: [   12.000100] page dumped" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        "[    5.1] BUG: kernel NULL pointer dereference, address: 0000000000000000",
        "[    5.1] general protection fault, probably for address 0x1: 0000 [#1] PREEMPT SMP",
        "[    5.1] Kernel panic - not syncing: sysrq triggered crash",
        "[    5.1] kernel BUG at mm/rmap.c:1!",
    ],
)
def test_the_last_words_begin_with_the_complaint_when_it_is_of_any_kind(kernel, line):
    # GIVEN a console that is calm until then, though it speaks of bugs and panics
    calm = "[    0.1] [Firmware Bug]: TSC\n[    0.2] Command line: panic=-1 debug oops=panic\n"
    console = kernel.folder / "console"
    console.write_text(calm + line + "\nmore\n")
    kernel.put(1)
    kernel.die()
    # WHEN recovered THEN the words begin there
    kernel.recover("--console", str(console))
    words = [block.json() for block, _ in kernel.blocks() if block.type == BlockType.OOPS]
    assert words[0]["lines"] == [line, "more"]


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda k: open(k.core, "wb").write(b"KDUMP   "), "not a 64-bit ELF core"),
        (lambda k: open(k.core, "r+b").truncate(100), "ends inside its first table"),
        (lambda k: k.die(missing=(100,)), "lacks the frame with the ring's position"),
        (lambda k: setattr(k, "core", "/nowhere"), "cannot read"),
    ],
)
def test_one_error_says_what_to_do_when_the_core_is_no_good(kernel, spoil, text, capsys):
    # GIVEN a core that is none, or lacks what is needed
    kernel.put(1)
    kernel.die()
    spoil(kernel)
    before = open(kernel.trace, "rb").read()
    # WHEN recovered THEN one line says so, and the trace is as it was
    assert kernel.recover() == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and text in errors[0] and ":" in errors[0][7:]
    assert open(kernel.trace, "rb").read() == before


def test_the_core_is_refused_when_it_is_of_another_crash(kernel, tmp_path, capsys):
    # GIVEN the cores of another recording with fewer records, and of one with others
    kernel.put(5)
    kernel.drain()
    for count, spoilt in ((3, False), (8, True)):
        (tmp_path / str(count)).mkdir()
        other = DeadKernel(tmp_path / str(count))
        other.put(count)
        if spoilt:
            other.memory[FRAMES[2]][20] ^= 1
        other.die()
        # WHEN the trace is to be completed from it THEN it is refused
        assert main(["recover", "--core", other.core, kernel.trace]) == 1
        assert "does not belong to" in capsys.readouterr().err


def test_one_error_says_why_when_the_trace_has_no_frames(kernel, capsys):
    # GIVEN a trace whose recorder could not read its frames
    kernel.die()
    os.unlink(kernel.trace)
    with Writer(kernel.trace) as writer:
        writer.json(BlockType.HEADER, {"ring": None, "clock": {}})
    # WHEN recovered THEN one line says why not
    assert kernel.recover() == 1
    assert "does not say where its rings lay" in capsys.readouterr().err


def test_one_error_says_what_to_do_when_the_trace_is_damaged(kernel, capsys):
    # GIVEN a trace with a byte changed in its middle
    kernel.put(5)
    kernel.drain()
    kernel.die()
    data = bytearray(open(kernel.trace, "rb").read())
    data[-20] ^= 1
    open(kernel.trace, "wb").write(data)
    # WHEN recovered THEN it is not touched
    assert kernel.recover() == 1
    assert "truncate -s" in capsys.readouterr().err
    assert open(kernel.trace, "rb").read() == data
