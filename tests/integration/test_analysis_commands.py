# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands as a user runs them: good, missing, damaged and truncated files."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from probes.tracefile import BlockType, Reader, Writer
from tests import mock_stories
from tests.mock import MockTrace, write_records
from tests.mock_kernel import MockKernel

ROOT = Path(__file__).resolve().parents[2]
READING = ("stats", "dump", "lives")


def _run(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "analysis", *map(str, args)],
        cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole trace without losses."""
    return mock_stories.lifecycle().write(tmp_path_factory.mktemp("t") / "good.mapcount")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace that is cheap to cut into pieces."""
    trace = mock_stories.seed_2015(rounds=2)
    return trace.write(tmp_path_factory.mktemp("t") / "small.mapcount", ring=True)


@pytest.mark.parametrize("command", [*READING, "verify"])
def test_command_prints_results_alone_when_the_trace_is_good(good: Path, command: str) -> None:
    # GIVEN a good trace WHEN a command reads it
    done = _run(command, good, "--strict")
    # THEN results are on stdout, nothing on stderr, and the exit code is 0
    assert done.returncode == 0
    assert done.stdout
    assert done.stderr == ""


def test_stats_tells_kernel_probes_and_lives_when_the_trace_is_good(good: Path) -> None:
    # GIVEN a good trace WHEN its totals are printed
    text = _run("stats", good).stdout
    # THEN they name the kernel, what fired, what never did, and the lives
    for part in ("6.1.0-mock", "page_remove_rmap", "silent    page_add_file_rmap", "order 9",
                 "losses: none", "command ended with status 0"):  # fmt: skip
        assert part in text


def test_dump_has_a_line_per_record_when_the_trace_is_good(small: Path) -> None:
    # GIVEN a trace of 2 rounds: 4 records each, and readers' 2 * 2 (+ 2 in the second)
    lines = _run("dump", small).stdout.splitlines()
    # WHEN it is dumped THEN every record and every block is there
    records = [line for line in lines if not line.startswith("#")]
    assert len(records) == 18
    assert sum(line.startswith("# block") for line in lines) == 4
    assert "read stable_page_flags enter pfn=0x12482" in "\n".join(records)


def test_lives_of_single_pages_are_shown_when_all_is_given(good: Path) -> None:
    # GIVEN a trace with one folio and its 448 pages WHEN lives are listed
    few, every = _run("lives", good).stdout, _run("lives", "--all", good).stdout
    # THEN the pages are there only with --all
    assert len(few.splitlines()) == 2
    assert len(every.splitlines()) == 450


@pytest.mark.parametrize("command", [*READING, "verify"])
def test_command_fails_with_one_line_when_the_file_is_no_trace(
    tmp_path: Path, command: str
) -> None:
    # GIVEN a missing file, an empty one and one of something else
    empty, other = tmp_path / "empty", tmp_path / "other"
    empty.write_bytes(b"")
    other.write_text("hello, world, this is no trace at all\n")
    for path in (tmp_path / "missing", empty, other):
        # WHEN a command reads it
        done = _run(command, path)
        # THEN one line says what is wrong
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")
        assert len(done.stderr.splitlines()) == 1
        assert str(path) in done.stderr


def test_command_warns_and_goes_on_when_a_block_is_corrupt(good: Path, tmp_path: Path) -> None:
    # GIVEN a trace with one byte flipped in the middle
    bad = tmp_path / "bad.mapcount"
    data = bytearray(good.read_bytes())
    data[len(data) // 2] ^= 1
    bad.write_bytes(data)
    for command in READING:
        # WHEN a command reads it, loosely and strictly
        loose, strict = _run(command, bad), _run(command, bad, "--strict")
        # THEN both print, and warn of the damage and the missing trailer; strict exits 3
        assert (loose.returncode, strict.returncode) == (0, 3)
        assert loose.stdout == strict.stdout != ""
        assert loose.stderr.count("warning: ") == 2
        assert "dropped" in loose.stderr and "no trailer" in loose.stderr


def _ends(path: Path) -> list[int]:
    with Reader(str(path)) as reader:
        return [block.offset for block in reader.blocks()]


def test_trace_opens_when_it_is_truncated_anywhere(small: Path, tmp_path: Path) -> None:
    # GIVEN a trace cut at each block's begin and at bytes inside the blocks
    import analysis

    data = small.read_bytes()
    offsets = _ends(small)
    cut = tmp_path / "cut.mapcount"
    for place in offsets[1:]:
        for size in (place, place + 1, place + 31, place + 40, place - 1):
            cut.write_bytes(data[:size])
            if size < offsets[1]:
                # WHEN it ends inside its header THEN it says so
                with pytest.raises(analysis.AnalysisError, match="no complete header"):
                    analysis.open_trace(str(cut))
                continue
            # WHEN it is opened
            opened = analysis.open_trace(str(cut))
            # THEN what is whole is there, and the warnings tell what is not
            assert any("no trailer" in text for text in opened.warnings)
            assert any("dropped" in text for text in opened.warnings) == (size not in offsets)
            assert len(opened.df_events()) % 2 == 0 and len(opened.df_lives()) <= 2


def test_strict_exits_3_when_events_were_lost(tmp_path: Path) -> None:
    # GIVEN a trace with losses
    path = mock_stories.lossy().write(tmp_path / "t.mapcount")
    # WHEN it is read
    loose, strict = _run("stats", path), _run("stats", "--strict", path)
    quiet = _run("stats", "-q", path)
    # THEN there is a warning, strict fails, and -q is quiet
    assert (loose.returncode, strict.returncode, quiet.returncode) == (0, 3, 0)
    assert "37 events were lost" in loose.stderr
    assert quiet.stderr == ""


def test_commands_tell_of_the_kernels_death_when_a_trace_was_recovered(tmp_path: Path) -> None:
    # GIVEN a trace that was completed from a dead kernel's memory
    path = mock_stories.crash().write(tmp_path / "t.mapcount")
    # WHEN it is summed up THEN the recovered events count, and the kernel's words are there
    stats = _run("stats", path, "--strict")
    assert "ended       the kernel died; 4 events recovered from its memory, 1 busy" in stats.stdout
    assert "events      10," in stats.stdout
    assert "oops        page dumped because: VM_BUG_ON_PAGE(!PageHead(page)), at" in stats.stdout
    assert "  [    7.100100] kernel BUG at include/linux/page-flags.h:850!" in stats.stdout
    # AND it is called incomplete for that reason
    assert stats.returncode == 3
    assert "the kernel died; 4 events recovered" in stats.stderr
    # WHEN it is dumped THEN the recovered records are marked, and the words stand there too
    dump = _run("dump", path).stdout
    before, after = dump.split("# 4 records from the memory of the dead kernel\n")
    assert before.count(" seq=") == 6 and after.count(" seq=") == 4
    assert "#   [    7.100100] kernel BUG" in after


def test_verify_exits_1_when_the_replay_differs_or_nothing_is_checked(tmp_path: Path) -> None:
    # GIVEN a trace with an unmap that nobody saw, and one whose snapshots show no folio
    unseen = MockTrace()
    kernel = MockKernel(unseen)
    folio = kernel.alloc(0x800)
    kernel.map_pte(folio, 100, 0, 200)
    folio.ptes -= {(100, page) for page in range(100, 137)}
    kernel.snapshot("end", tasks=(100,))
    wrong = unseen.write(tmp_path / "wrong")
    nothing = mock_stories.seed_2015(rounds=1)
    nothing.items = [item for item in nothing.items if isinstance(item[1], bytes)][:4]
    blind = nothing.write(tmp_path / "blind")
    # WHEN they are verified
    differs, empty = _run("verify", wrong), _run("verify", blind)
    # THEN neither passes, and both say why
    assert differs.returncode == 1
    assert "pages 100 to 136: replayed 1, truth 0" in differs.stdout
    assert empty.returncode == 1
    assert "nothing was checked" in empty.stderr


def test_verify_and_audit_agree_when_events_were_lost(tmp_path: Path) -> None:
    # GIVEN a trace with a loss before its snapshot
    lossy = mock_stories.lossy().write(tmp_path / "lossy")
    # WHEN it is verified and audited
    verified, audited = _run("verify", lossy), _run("audit", lossy)
    # THEN both call what the loss explains possible, and only --strict makes it an error
    assert verified.returncode == audited.returncode == 0
    assert "pages 100 to 136: replayed 1, truth 0; possible because 37 events were" in (
        verified.stdout
    )
    assert ": 0 differences, " in verified.stdout and ": 0 certain, " in audited.stdout
    assert _run("verify", lossy, "--strict").returncode == 3


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_timeline_writes_the_picture_when_asked(good: Path, tmp_path: Path, suffix: str) -> None:
    # GIVEN a good trace WHEN its picture is asked for
    out = tmp_path / f"out.{suffix}"
    done = _run("timeline", good, "-o", out)
    # THEN it is there and the last line says where, and nothing else is left behind
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"wrote {out}"
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_timeline_keeps_the_old_file_when_force_is_not_given(good: Path, tmp_path: Path) -> None:
    # GIVEN an output that exists
    out = tmp_path / "out.png"
    out.write_text("mine")
    # WHEN the picture is asked for without and with force
    refused = _run("timeline", good, "-o", out)
    kept = out.read_text()
    forced = _run("timeline", good, "-o", out, "--force")
    # THEN the first keeps it and names the flag, the second replaces it
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert kept == "mine"
    assert forced.returncode == 0


def test_timeline_exits_with_usage_or_error_when_the_choice_is_wrong(
    good: Path, tmp_path: Path
) -> None:
    # GIVEN a good trace WHEN format, page or life are none of its own
    jpeg = _run("timeline", good, "-o", tmp_path / "out.jpeg")
    both = _run("timeline", good, "-o", tmp_path / "o.png", "--pfn", "1", "--life", "1")
    page = _run("timeline", good, "-o", tmp_path / "o.png", "--pfn", "0x99999")
    life = _run("timeline", good, "-o", tmp_path / "o.png", "--life", "999999")
    # THEN usage is 2 and a question without an answer is 1
    assert [done.returncode for done in (jpeg, both, page, life)] == [2, 2, 1, 1]
    assert "0x99999" in page.stderr and "mapcount lives" in life.stderr


def test_timeline_looks_closer_when_a_time_is_given(good: Path, tmp_path: Path) -> None:
    # GIVEN a good trace WHEN a part of its time is asked for, one without a life, and none
    whole, part = tmp_path / "whole.svg", tmp_path / "part.svg"
    done = [
        _run("timeline", good, "-o", whole),
        _run("timeline", good, "-o", part, "--time", "0:25"),
        _run("timeline", good, "-o", tmp_path / "o.svg", "--time", "90000:"),
        _run("timeline", good, "-o", tmp_path / "o.svg", "--life", "0", "--time", "90000:"),
        _run("timeline", good, "-o", tmp_path / "o.svg", "--time", "9:3"),
    ]
    # THEN the first two are pictures that differ, and the others each one error
    assert [one.returncode for one in done] == [0, 0, 1, 1, 2], [one.stderr for one in done]
    assert whole.read_text() != part.read_text()
    assert "has no life in that time" in done[2].stderr
    assert "lasts from" in done[3].stderr and "milliseconds" in done[4].stderr


def test_timeline_follow_ends_when_the_trailer_is_there(good: Path, tmp_path: Path) -> None:
    # GIVEN a trace that is complete WHEN it is followed
    out = tmp_path / "out.png"
    done = _run("timeline", good, "-o", out, "--follow")
    # THEN the picture is drawn and the command ends
    assert done.returncode == 0, done.stderr
    assert out.stat().st_size > 20_000


@pytest.mark.parametrize(
    ("args", "unwanted"),
    [(["--help"], ["pandas", "numpy", "matplotlib"]),
     (["stats", "FILE"], ["pandas", "matplotlib"]),
     (["lives", "FILE"], ["pandas", "matplotlib"]),
     (["verify", "FILE"], ["matplotlib"]),
     (["dump", "FILE"], ["pandas", "numpy", "matplotlib"])],
)  # fmt: skip
def test_heavy_libraries_stay_out_when_a_command_needs_none(
    good: Path, args: list[str], unwanted: list[str]
) -> None:
    # GIVEN a command WHEN it runs in a fresh interpreter
    code = (
        "import sys; from mapcount import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(' '.join(sys.modules), file=sys.stderr)"
    )
    real = [str(good) if arg == "FILE" else arg for arg in args]
    done = subprocess.run(
        [sys.executable, "-c", code, *real], cwd=ROOT, capture_output=True, text=True, check=True
    )
    # THEN the libraries it has no use for were not loaded
    loaded = set(done.stderr.split())
    assert not loaded & set(unwanted)


def test_pipe_is_no_error_when_its_reader_leaves(good: Path) -> None:
    # GIVEN a dump into a pipe WHEN the reader leaves after a line
    done = subprocess.run(
        f"{sys.executable} -m analysis dump {good} | head -1",
        shell=True, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    # THEN nobody complains
    assert done.stderr == ""


def test_traceback_is_shown_when_vv_is_given(tmp_path: Path) -> None:
    # GIVEN a missing file WHEN it is read with and without -vv
    plain, loud = _run("stats", tmp_path / "no"), _run("stats", "-vv", tmp_path / "no")
    # THEN only -vv shows where the error came from
    assert "Traceback" not in plain.stderr
    assert "Traceback" in loud.stderr


def test_timeline_follow_redraws_when_the_trace_grows(tmp_path: Path) -> None:
    # GIVEN a recorder that has written half of a life, and a picture that follows it
    trace = mock_stories.lifecycle()
    records = [content for kind, content in trace.items if kind is BlockType.RECORDS]
    path, out = tmp_path / "live.mapcount", tmp_path / "out.png"
    with Writer(str(path)) as recorder:
        recorder.json(BlockType.HEADER, trace.header())
        recorder.json(BlockType.TASKS, trace.tasks)
        write_records(recorder, records[:600])
        follower = subprocess.Popen(
            [sys.executable, "-m", "analysis", "timeline", path, "-o", out, "--follow", "-q"],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 300
        while not out.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        early = out.read_bytes()
        # WHEN the rest and the trailer arrive
        write_records(recorder, records[600:])
        recorder.json(BlockType.TRAILER, {"events": len(records), "end": "SIGINT"})
    stdout, _ = follower.communicate(timeout=300)
    # THEN there was a picture before the end, the last one differs, and the command ends
    assert follower.returncode == 0
    assert stdout.splitlines()[-1] == f"wrote {out}"
    assert len(early) > 20_000
    assert out.read_bytes() != early
