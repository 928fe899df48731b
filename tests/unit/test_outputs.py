# SPDX-License-Identifier: GPL-2.0-or-later
"""No command destroys what is the user's, writes where a link leads, or shows a trace to others."""

from __future__ import annotations

import argparse
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import vm.__main__
from analysis.__main__ import build_parser, main
from analysis.dataset import CONTENTS
from analysis.export import tables
from probes.output import Output, OutputError
from probes.tracefile import MAGIC, Writer
from tests import mock_stories

ROOT = Path(__file__).parents[2]
#: Every way to make an output: the command, its options, what its file is called, and whether
#: others may see it.
WAYS = {
    "csv": (["export", "--to", "csv"], "out.csv", False),
    "perfetto": (["export", "--to", "perfetto"], "out.json", False),
    "slice": (["slice"], "out.mapcount", False),
    "report": (["report"], "out.html", True),
    "timeline": (["timeline"], "out.png", True),
    "waste": (["waste"], "out.png", True),
    "where": (["where"], "out.png", True),
    "holders": (["holders"], "out.png", True),
}
DATASET = (["export", "--to", "parquet"], "out", False)

every_file = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
every_way = pytest.mark.parametrize("way", [*WAYS.values(), DATASET], ids=[*WAYS, "parquet"])
Way = tuple[list[str], str, bool]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    story = mock_stories.seed_2015(rounds=2)
    story.where = True
    return story.write(tmp_path_factory.mktemp("t") / "t.mapcount")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the output goes; nothing else may be left in it."""
    return tmp_path


def make(way: Way, trace: Path, output: Path, *more: str) -> int:
    command, *options = way[0]
    return main([command, str(trace), *options, "-q", "-o", str(output), *more])


def test_every_command_that_makes_an_output_is_tried() -> None:
    # GIVEN the commands WHEN they are asked for their options THEN those with an output are here
    (commands,) = (
        action.choices
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    making = {
        name
        for name, parser in commands.items()
        if any(action.dest == "output" for action in parser._actions)
    }
    assert making == {way[0][0] for way in (*WAYS.values(), DATASET)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(folder: Path) -> Path:
    """A folder of the user's."""
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    return folder


@every_way
def test_a_folder_is_not_removed_for_an_output(
    way: Way, trace: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a folder of the user's that has the output's name
    home = fill(folder / way[1])
    # WHEN the output is asked for, with force THEN it is refused in one line, and all is there
    assert make(way, trace, home, "-f") == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert (home / "thesis.tex").read_text() == "years of work"
    assert names(folder) == [home.name]


@every_way
@pytest.mark.parametrize("name", [".", "..", "", "/"])
def test_an_output_without_a_name_is_refused(
    way: Way, name: str, trace: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a current folder with something in it WHEN the output is no name THEN it is refused
    home = fill(folder / "home")
    monkeypatch.chdir(home)
    command, *options = way[0]
    try:
        assert main([command, str(trace), *options, "-q", "-o", name, "-f"]) == 1
    except SystemExit as usage:
        assert usage.code == 2
    assert names(home) == ["thesis.tex"] and names(folder) == ["home"]


@every_way
def test_nothing_else_is_touched_and_nothing_is_left(way: Way, trace: Path, folder: Path) -> None:
    # GIVEN files of the user's with names that a careless program takes for its own
    others = [f"{way[1]}.partial", f"{way[1]}.tmp", f"{Path(way[1]).stem}.partial.png", "replaced."]
    for name in others:
        (folder / name).write_text("mine")
    # WHEN the output is made, and made again with force
    assert make(way, trace, folder / way[1]) == 0
    assert make(way, trace, folder / way[1], "-f") == 0
    # THEN they are as they were, and beside the output there is nothing new
    assert {name: (folder / name).read_text() for name in others} == dict.fromkeys(others, "mine")
    assert names(folder) == sorted([*others, way[1]])


@every_way
def test_a_symbolic_link_is_not_followed(way: Way, trace: Path, folder: Path) -> None:
    # GIVEN a symbolic link, to a file and to nowhere
    target = folder / "precious"
    target.write_text("mine")
    for leads_to in (target, folder / "nowhere"):
        link = folder / way[1]
        link.unlink(missing_ok=True)
        link.symlink_to(leads_to)
        # WHEN it is given for the output, with force and without THEN it is refused
        assert make(way, trace, link, "-f") == make(way, trace, link) == 1
        assert link.is_symlink() and target.read_text() == "mine"
    assert names(folder) == sorted(["precious", way[1]])


@every_file
def test_what_is_no_regular_file_is_refused(
    way: Way, trace: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a named pipe that nobody reads WHEN it is the output THEN it is refused at once
    pipe = folder / way[1]
    os.mkfifo(pipe)
    assert make(way, trace, pipe, "-f") == 1
    assert capsys.readouterr().err.endswith("is not a regular file: give the name of a file\n")
    assert stat.S_ISFIFO(pipe.lstat().st_mode)


@every_way
def test_what_is_made_of_a_trace_is_the_users_alone(way: Way, trace: Path, folder: Path) -> None:
    # GIVEN the usual umask WHEN an output is made
    before = os.umask(0o022)
    try:
        assert make(way, trace, folder / way[1]) == 0
    finally:
        os.umask(before)
    # THEN only pictures and reports can be read by others
    made = [folder / way[1], *(folder / way[1]).rglob("*")]
    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) == (
            0o644 if way[2] else 0o700 if path.is_dir() else 0o600
        )


@every_file
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_a_replaced_file_keeps_its_mode(way: Way, mode: int, trace: Path, folder: Path) -> None:
    # GIVEN an older output WHEN it is replaced THEN it is as open to others as it was
    output = folder / way[1]
    output.write_text("old")
    output.chmod(mode)
    assert make(way, trace, output) == 1
    assert output.read_text() == "old"
    assert make(way, trace, output, "-f") == 0
    assert output.stat().st_size > 100
    assert stat.S_IMODE(output.stat().st_mode) == mode


def test_a_dataset_replaces_one_that_we_made_and_no_other(
    trace: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a dataset
    output = folder / "out"
    assert make(DATASET, trace, output) == 0
    before = (output / CONTENTS).stat().st_ino
    # WHEN it is made again THEN that needs force, and it is another
    assert make(DATASET, trace, output) == 1
    assert make(DATASET, trace, output, "-f") == 0
    assert (output / CONTENTS).stat().st_ino != before
    # BUT with something of the user's in it it stays
    (output / "events" / "notes.txt").write_text("mine")
    assert make(DATASET, trace, output, "-f") == 1
    assert "events/notes.txt" in capsys.readouterr().err
    (output / "events" / "notes.txt").unlink()
    # AND a folder that only looks like one stays as well
    (output / CONTENTS).unlink()
    assert make(DATASET, trace, output, "-f") == 1
    assert (output / "lives.parquet").exists() and names(folder) == ["out"]


@pytest.mark.parametrize("problem", [KeyboardInterrupt, OSError(28, "No space left"), ValueError])
def test_a_failure_leaves_the_old_dataset(
    problem: type[BaseException], trace: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a dataset, and a failure while it is made again: at its end, or when it is to replace it
    output = folder / "out"
    assert make(DATASET, trace, output) == 0
    before = (output / CONTENTS).stat().st_ino

    def fail(*_: object) -> None:
        raise problem

    def cannot(old: str, new: str) -> None:
        rename(old, new) if new != str(output) or "replaced." in old else fail()

    rename = os.rename
    for where, what, instead in ((tables, "sign", fail), (os, "rename", cannot)):
        with monkeypatch.context() as broken:
            broken.setattr(where, what, instead)
            try:
                assert make(DATASET, trace, output, "-f") == 1
            except KeyboardInterrupt:
                assert problem is KeyboardInterrupt
        # THEN the old one is in its place, and nothing else
        assert (output / CONTENTS).stat().st_ino == before
        assert names(folder) == ["out"]


def test_nothing_is_left_when_a_command_is_ended(trace: Path, folder: Path) -> None:
    # GIVEN a command that waits while it writes its output
    code = (
        "import sys\n"
        "from analysis import slicing\n"
        "slicing._end = lambda *_: sys.stdin.read()\n"
        "from analysis.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    for number, status in (("INT", 130), ("TERM", 143), ("HUP", 129)):
        command = [sys.executable, "-c", code, "slice", trace, "-o", folder / "out"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stderr=pipe, text=True) as writer:
            deadline = time.monotonic() + 60
            while not list(folder.glob(".mapcount-*/out")) and time.monotonic() < deadline:
                time.sleep(0.05)
            # WHEN a signal ends it
            subprocess.run(["kill", f"-{number}", str(writer.pid)], check=True)
            errors = writer.communicate(timeout=60)[1]
        # THEN it goes with the signal's status, without a word, and leaves nothing
        assert (writer.returncode, errors) == (status, "")
        assert names(folder) == []


def test_what_came_meanwhile_is_not_replaced(folder: Path) -> None:
    # GIVEN an output in the making, without force
    with pytest.raises(OutputError, match="exists"), Output(str(folder / "out")) as output:
        Path(output.part).write_text("new")
        # WHEN somebody else takes its name meanwhile THEN that stays
        (folder / "out").write_text("mine")
    assert (folder / "out").read_text() == "mine" and names(folder) == ["out"]


def test_a_full_disk_is_told_with_the_outputs_name(folder: Path) -> None:
    # GIVEN an output whose disk is full WHEN it is written THEN the line names it, not the part
    words = f"cannot write {folder}/out: .* space: free"
    with pytest.raises(OutputError, match=words), Output(str(folder / "out")):
        raise OSError(28, "no more space")
    assert names(folder) == []


def recorded(fails: Callable[[], None], folder: Path, force: bool) -> None:
    """What `record` does with its output, around a recording that may not begin."""
    with Output(str(folder / "t"), force) as output, Writer(output.part) as writer:
        fails()
        output.place()
        assert writer.path == output.part


def test_a_trace_is_kept_until_another_recording_begins(folder: Path) -> None:
    # GIVEN a trace
    old = folder / "t"
    old.write_text("old")

    def fails() -> None:
        raise OSError(1, "no kprobes here")

    # WHEN a recording is asked for that may not replace it, or that cannot begin THEN it stays
    with pytest.raises(OutputError, match="-f/--force"):
        recorded(lambda: None, folder, False)
    with pytest.raises(OSError, match="no kprobes"):
        recorded(fails, folder, True)
    assert old.read_text() == "old" and names(folder) == ["t"]
    # BUT one that begins replaces it
    recorded(lambda: None, folder, True)
    assert old.read_bytes().startswith(MAGIC) and names(folder) == ["t"]


def test_a_writer_takes_no_file_that_is_there(folder: Path) -> None:
    # GIVEN a file and a symbolic link WHEN a trace is to be written there THEN it fails
    (folder / "mine").write_text("mine")
    (folder / "link").symlink_to(folder / "nowhere")
    for name in ("mine", "link"):
        with pytest.raises(FileExistsError):
            Writer(str(folder / name))
    # AND one that it makes is the user's alone
    Writer(str(folder / "new")).close()
    assert stat.S_IMODE((folder / "new").stat().st_mode) == 0o600


def test_the_lab_takes_outputs_as_the_others_do(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a trace of the user's, a link, and results of a matrix
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    (folder / "t").write_text("old")
    (folder / "link").symlink_to(folder / "t")
    (folder / "matrix.json").write_text("old")
    # WHEN the lab is to write there THEN it refuses before anything boots
    for command in (["run", "-o", "t", "--", "true"], ["run", "-f", "-o", "link", "--", "true"],
                    ["run", "-o", "", "--", "true"], ["matrix", "-o", "."]):  # fmt: skip
        monkeypatch.chdir(folder)
        assert vm.__main__.main(command) in (1, 2)
        assert capsys.readouterr().err.count("\n") == 1
    assert (folder / "t").read_text() == (folder / "matrix.json").read_text() == "old"


def test_recovery_follows_no_link(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from probes.__main__ import main as recorder
    from tests.mock_crash import DeadKernel

    # GIVEN a link to the trace of a dead kernel
    kernel = DeadKernel(folder)
    kernel.put(3)
    kernel.die()
    link = folder / "link"
    link.symlink_to(kernel.trace)
    before = Path(kernel.trace).read_bytes()
    # WHEN the trace is to be completed through it THEN it is refused
    assert recorder(["recover", "--core", kernel.core, str(link)]) == 1
    assert "is a symbolic link" in capsys.readouterr().err
    assert Path(kernel.trace).read_bytes() == before
