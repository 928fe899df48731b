# SPDX-License-Identifier: GPL-2.0-or-later
"""What a command says when something is wrong: one line, the right words, an exit status."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import analysis
import mapcount
import probes.__main__ as recorder
from analysis import following
from probes import cli
from probes.tracefile import PREAMBLE, BlockType, Reader, Writer
from tests import mock_stories
from tests.mock import MockTrace, write_records
from vm import lab

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mock_stories.seed_2015(rounds=2).write(tmp_path_factory.mktemp("t") / "t.mapcount")


def said(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str]:
    """The status of a command, and its one line on stderr."""
    try:
        status = mapcount.main([str(each) for each in argv])
    except SystemExit as ended:
        status = int(ended.code or 0)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("error: "), err
    assert "a bug in mapcount" not in err
    return status, err


def shell(command: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f'mapcount() {{ {sys.executable} {ROOT}/mapcount.py "$@"; }}\n{command}'],
        capture_output=True, text=True, timeout=600, check=False, env=os.environ | env,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["timeline", "t", "-o", "x.png", "--pfn", "9" * 26], "is not a page frame number"),
        (["timeline", "t", "-o", "x.png", "--pfn", "-1"], "is not a page frame number"),
        (["timeline", "t", "-o", "x.png", "--pfn", "x"], "is not a page frame number"),
        (["slice", "t", "-o", "x", "--pfn", "9" * 26], "is not a page span"),
        (["slice", "t", "-o", "x", "--time=0:1e308"], "is not a time span"),
        (["slice", "t", "-o", "x", "--time=1e300:"], "is not a time span"),
        (["record", "-d", "nan"], "is not a time"),
        (["record", "-d", "1e308"], "is not a time"),
        (["record", "-d", "soon"], "is not a time"),
        (["record", "--buffer", "0"], "is not a number from 1 to"),
        (["record", "--buffer", "1" * 5000], "is not a number from 1 to"),
        (["record", "--min-order", "-1"], "is not a number from 0 to"),
        (["record", "--pid", "0"], "is not a number from 1 to"),
        (["top", "--delay", "0"], "is not a time"),
        (["lab", "run", "--timeout", "nan", "lifecycle"], "is not a time"),
        (["lab", "run", "--cpus", "0", "lifecycle"], "is not a number from 1 to"),
        (["stats"], "required: FILE"),
        (["stats", "t", "--bogus"], "unrecognized arguments: --bogus; see `mapcount stats --help`"),
        (
            ["lab", "run", "--bogus"],
            "unrecognized arguments: --bogus; see `mapcount lab run --help`",
        ),
        (["export", "t", "--to", "xml", "-o", "x"], "invalid choice: 'xml'"),
        (["lab"], "required: COMMAND"),
        (["lab", "bogus"], "invalid choice: 'bogus'"),
        ([], "no command"),
    ],
)
def test_usage_errors_are_one_line(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN options that make no sense WHEN a command is run THEN a line says what and where to look
    status, err = said(capsys, *argv)
    assert status == 2
    assert words in err and err.endswith(" --help`\n")


def test_a_trace_is_asked_for_in_the_right_words(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN names of what is no trace
    newer, empty = tmp_path / "newer", tmp_path / "empty"
    head = bytearray(trace.read_bytes())
    head[8:10] = (2).to_bytes(2, "little")
    newer.write_bytes(head)
    empty.touch()
    os.mkfifo(tmp_path / "pipe")
    for name, words, but_not in (
        (newer, "use a newer mapcount\n", "record"),
        ("", "the trace has an empty name: give a file", "permission"),
        (empty, "is empty: give a file", "recorder wrote nothing"),
        (tmp_path / "pipe", "is a pipe, not a file: save the trace as a file first", "empty"),
        ("/dev/zero", "is a device or a socket, not a file", "empty"),
        ("/proc/version", "give a file that `mapcount record` wrote", "recorder wrote"),
        ("/proc/self/pagemap", "give a file that `mapcount record` wrote", "recorder wrote"),
        (tmp_path, "is a folder: give a", "Errno"),
        (tmp_path / "missing", "No such file or directory: check the name", "permission"),
    ):
        for command in ("stats", "dump", "lives", "verify"):
            # WHEN a command reads it THEN it says so at once
            status, err = said(capsys, command, name)
            assert status == 1
            assert words in err and but_not not in err
    # AND `audit` of a folder that is no dataset says what is one
    status, err = said(capsys, "audit", tmp_path)
    assert status == 1 and "make one with `mapcount export --to parquet`" in err
    assert "Errno" not in err


def test_a_pipe_of_the_shell_is_no_empty_file(trace: Path) -> None:
    # GIVEN what a shell makes of <(…) WHEN it is read THEN it is called a pipe
    for command in (f"mapcount stats <(cat {trace})", f"cat {trace} | mapcount stats /dev/stdin"):
        done = shell(command)
        assert done.returncode == 1
        assert "is a pipe, not a file: save the trace as a file first" in done.stderr


@pytest.mark.parametrize("command", ["stats", "dump", "lives", "audit", "--help", "stats --help"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_is_told(
    command: str, unbuffered: str, trace: Path, tmp_path: Path
) -> None:
    name = command if "--help" in command else f"{command} {trace}"
    # GIVEN a full disk, and a closed output WHEN a command prints THEN one line says so
    full = shell(f"mapcount {name} >/dev/full", PYTHONUNBUFFERED=unbuffered)
    assert full.returncode == 1
    assert full.stderr == (
        "error: cannot write to standard output: No space left on device: "
        "free some space, or write elsewhere\n"
    )
    if "--help" not in command:
        closed = shell(f"mapcount {name} >&-", PYTHONUNBUFFERED=unbuffered)
        assert closed.returncode == 1
        assert closed.stderr == (
            "error: standard output is closed: open it, or send it to /dev/null\n"
        )
    # AND a reader that leaves ends the command as SIGPIPE would
    gone = shell(
        f"set -o pipefail; (until [ -e {tmp_path}/gone ]; do sleep 0.02; done; mapcount {name}) |"
        f"{{ exec <&-; touch {tmp_path}/gone; }}",
        PYTHONUNBUFFERED=unbuffered,
    )
    assert (gone.returncode, gone.stderr) == (141, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("command", ["--help", "stats --help", "lab --help", "stats", "lab list"])
def test_what_cannot_be_encoded_is_spelled(command: str, encoding: str, tmp_path: Path) -> None:
    # GIVEN an output that is not UTF-8, and names in other scripts
    story = mock_stories.seed_2015(rounds=1)
    story.tasks = [(tid, pid, "\u6c49\u5b57") for tid, pid, _ in story.tasks]
    path = story.write(tmp_path / "\u6c49")
    # WHEN a command prints THEN it succeeds
    name = f"stats {path}" if command == "stats" else command
    done = shell(f"mapcount {name}", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    if command == "stats":
        assert "\\u6c49" in done.stdout


def test_recovery_looks_at_its_core_first(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # GIVEN a trace that ended in order WHEN it is to be completed from nothing THEN it says so
    status, err = said(capsys, "recover", "--core", "/nonexistent", trace)
    assert status == 1 and "cannot read /nonexistent" in err


@pytest.mark.parametrize("options", [["--time", "1e6:2e6"], ["--pfn", "1"], ["--pfn", "1+512"]])
def test_a_slice_of_nothing_is_no_slice(
    options: list[str], trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a time or pages that the trace has nothing of WHEN they are cut out
    status, err = said(capsys, "slice", trace, *options, "-o", tmp_path / "part")
    # THEN nothing is written, and a line says what there is
    assert status == 1 and "nothing was written" in err and "mapcount lives --all" in err
    assert not list(tmp_path.iterdir())


def test_missed_probes_ask_for_no_larger_ring(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a trace with a full ring, and one whose kernel skipped probes
    for kind, advice in (("ring", "larger rings"), ("missed", "mapcount stats")):
        story = MockTrace()
        story.record("alloc", 0x11200, order=9, nr=0)
        story.loss(story.now, story.now + 10, [(0, "unmap", 7)])
        story.items[-1][1]["kind"] = kind
        # WHEN it is read THEN the advice is what helps
        assert mapcount.main(["stats", str(story.write(tmp_path / kind))]) == 0
        err = capsys.readouterr().err
        assert advice in err and " 7 " in f" {err} ".replace("warning: 7", "warning:  7")
        assert ("ring" in err) == (kind == "ring")


@pytest.mark.parametrize(("mebibytes", "larger"), [(8, "--buffer 32"), (1024, "--buffer 2048")])
def test_a_loss_asks_for_options_that_exist(mebibytes: int, larger: str) -> None:
    # GIVEN a ring that was full WHEN it is told what to do THEN recording takes these options
    advice = cli.fewer_losses(mebibytes << 20)
    assert larger in advice and "--only GROUP" in advice
    options = recorder.parser().parse_args(["record", *larger.split(), "--only", "rmap"])
    assert options.buffer > mebibytes << 20 and options.only == ("rmap",)


def test_a_loss_asks_for_no_ring_above_the_largest() -> None:
    # GIVEN the largest ring, and a trace that does not tell THEN only fewer probes help
    for size in (cli.LARGEST_RING << 20, 0):
        assert "--buffer" not in cli.fewer_losses(size) and "--only" in cli.fewer_losses(size)


def test_the_report_names_no_option_that_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a trace with more findings than a page has room for WHEN it is reported
    monkeypatch.setattr("analysis.page.findings.MOST", 3)
    path, page = mock_stories.seed_2015(rounds=10).write(tmp_path / "t"), tmp_path / "t.html"
    assert mapcount.main(["report", str(path), "-o", str(page)]) == 0
    # THEN it says which command tells the others
    assert "more like these: <code>mapcount audit --all</code>" in page.read_text()


@pytest.mark.parametrize("command", ["stats", "timeline", "export", "record", "doctor", "lab"])
def test_exit_statuses_are_in_every_help_and_in_the_readme(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a command WHEN its help is asked for THEN it has the status of an interruption
    with pytest.raises(SystemExit) as ended:
        mapcount.main([command, "--help"])
    assert ended.value.code == 0
    assert "130 interrupted" in " ".join(capsys.readouterr().out.split())
    assert "130 interrupted" in " ".join((ROOT / "README.md").read_text().split())


def test_following_ends_when_no_header_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a file of which nothing but its first bytes was written
    path = tmp_path / "t"
    Writer(str(path)).close()
    assert path.stat().st_size == PREAMBLE.size
    monkeypatch.setattr(following, "PATIENCE", 0.3)
    # WHEN it is followed THEN that ends with a word
    status, err = said(capsys, "timeline", path, "--follow", "-o", tmp_path / "x.png")
    assert status == 1 and "no complete header" in err


def growing(path: Path) -> tuple[Writer, MockTrace]:
    story = mock_stories.seed_2015(rounds=1)
    writer = Writer(str(path))
    writer.json(BlockType.HEADER, story.header())
    writer.json(BlockType.TASKS, story.tasks)
    write_records(writer, [each for kind, each in story.items if kind is BlockType.RECORDS])
    return writer, story


#: Seconds after which a file's time has changed for certain.
BEAT = 0.02


class Clock:
    """Time that passes only while somebody sleeps; what others do meanwhile is done then."""

    def __init__(self, others: Iterator[None]) -> None:
        self.now = 0.0
        self.others = others

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        next(self.others)


def test_following_ends_when_the_recorder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a trace whose recorder was killed
    path = tmp_path / "t"
    growing(path)[0].close()
    monkeypatch.setattr(following, "SILENCE", 0.5)
    # WHEN it is followed THEN there is a picture of what it has, and a word about the rest
    assert mapcount.main(["timeline", str(path), "--follow", "-o", str(tmp_path / "x.png")]) == 0
    err = capsys.readouterr().err
    assert "the recorder is gone" in err and "no trailer" in err
    assert (tmp_path / "x.png").stat().st_size > 20_000


def test_following_goes_on_while_the_recorder_gives_a_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a recorder that has nothing to write, but lives, for longer than one is waited for
    path = tmp_path / "t"
    monkeypatch.setattr(following, "SILENCE", 1.0)
    writer, _ = growing(path)
    with Reader(str(path)) as reader:
        quiet = reader.beat()
        time.sleep(BEAT)
        writer.beat()
        assert reader.beat() > quiet

    def live() -> Iterator[None]:
        for _ in range(20):
            time.sleep(BEAT)
            writer.beat()
            yield
        writer.json(BlockType.TRAILER, {"events": 0, "end": "SIGINT"})
        yield

    # WHEN it is followed, at each look after a sign of life THEN that ends with its trailer
    clock = Clock(live())
    monkeypatch.setattr(following, "time", clock)
    frames = list(analysis.follow(str(path), poll=0.15))
    assert clock.now > 2
    assert sum(map(len, frames)) > 0
    assert analysis.open_trace(str(path)).trailer is not None


def test_a_page_of_a_trace_is_made_by_the_line_that_says_so(
    trace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # GIVEN a trace in a folder whose name needs quotes WHEN the line is typed into a shell
    odd = tmp_path / "it's $HOME"
    odd.mkdir()
    (odd / "t.mapcount").write_bytes(trace.read_bytes())
    opened: list[str] = []

    def show(address: str) -> bool:
        opened.append(address)
        return True

    monkeypatch.setattr("webbrowser.open", show)
    program, *argv = shlex.split(cli.page_of(str(odd / "t.mapcount")).removeprefix("to see it: "))
    # THEN the page is there, and shown
    assert (program, mapcount.main(argv)) == ("mapcount", 0)
    assert opened == [(odd / "t.html").as_uri()]


@pytest.mark.parametrize("recorded", [True, False])
def test_lab_says_how_to_see_what_it_recorded(
    recorded: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # GIVEN a guest that ran, and left a trace or did not
    output = tmp_path / "t.mapcount"

    def run(plan: Any, options: Any, trace: Path, force: bool) -> Any:
        if recorded:
            trace.write_bytes(b"")
        return SimpleNamespace(exit_code=0)

    monkeypatch.setattr(lab, "run", run)
    # WHEN the command ends THEN the line is there if there is something to see
    assert mapcount.main(["lab", "run", "lifecycle", "-o", str(output)]) == 0
    line = f"note: {cli.page_of(str(output))}\n"
    assert (line in capsys.readouterr().err) is recorded
