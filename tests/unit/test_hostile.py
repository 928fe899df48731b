# SPDX-License-Identifier: GPL-2.0-or-later
"""Forged traces of at most 10 MB and half a million records: every command answers, within 10 s
and 1 GiB of memory."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import analysis
from tests import hostile
from tests.fuzz_reader import read

ROOT = Path(__file__).parents[2]
#: Seconds of CPU time and bytes of resident memory that one command may take.
SECONDS, MEMORY = 10, 1 << 30
COMMANDS = ("stats", "lives --all", "lives --all --json", "dump", "verify", "audit", "audit --all",
            "audit --json", "waste", "waste --json", "where", "holders", "holders --json",
            "timeline -o t.png")  # fmt: skip
#: These bring their own cost, so that not every file meets them in each run of the tests.
SLOW = ("report -o t.html", "slice -o t.part", "export --to csv -o t.csv",
        "export --to perfetto -o t.json", "export --to parquet -o t.parquet")  # fmt: skip
#: To make frames of these takes as long as of all others together.
LARGE = {"snapshots of zeros", "a loss for each finding", "a finding for each page"} | hostile.LARGE

#: One process for all commands of a file would hide which of them took the memory.
WATCHED = """\
import resource, sys
sys.path.insert(0, {root!r})
import mapcount
status = 1
try:
    status = mapcount.main(sys.argv[1:])
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime, used.ru_maxrss, status, file=open("used", "w"))
"""


def run(folder: Path, command: str, path: Path) -> tuple[float, int, int, str]:
    """(CPU seconds, bytes, exit status, stderr) of one command on a file."""
    (folder / "used").unlink(missing_ok=True)
    for made in ("t.png", "t.html", "t.part", "t.csv", "t.json"):
        (folder / made).unlink(missing_ok=True)
    shutil.rmtree(folder / "t.parquet", ignore_errors=True)
    name, *options = command.split()
    with open(os.devnull, "w") as nothing:
        done = subprocess.run(
            [sys.executable, "-c", WATCHED.format(root=str(ROOT)), name, str(path), *options],
            cwd=folder, stdout=nothing, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (3 * SECONDS, 3 * SECONDS)),
        )  # fmt: skip
    assert (folder / "used").exists(), f"killed: {done.returncode}\n{done.stderr[-2000:]}"
    seconds, kib, status = (folder / "used").read_text().split()
    return float(seconds), int(kib) << 10, int(status), done.stderr


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.truth if name in LARGE else ())
        for name in hostile.FILES
    ],
)
def test_reader_when_the_file_is_hostile(tmp_path: Path, name: str) -> None:
    # GIVEN a file that no recorder writes WHEN it is read THEN there is an answer or one error
    path = hostile.write(tmp_path / "hostile.mapcount", hostile.FILES[name]())
    begin = time.process_time()
    try:
        read(str(path), frames=True)
    except analysis.AnalysisError as error:
        assert len(str(error).splitlines()) == 1
    # AND in time
    assert time.process_time() - begin < 2 * SECONDS


@pytest.mark.truth
@pytest.mark.parametrize("name", hostile.FILES)
def test_commands_when_the_file_is_hostile(tmp_path: Path, name: str) -> None:
    # GIVEN a file that no recorder writes
    path = hostile.write(tmp_path / "hostile.mapcount", hostile.FILES[name]())
    assert path.stat().st_size <= 10_000_000
    # Each of the slow ones sees every fifth file, and all of the large ones.
    every_third = [SLOW[list(hostile.FILES).index(name) % len(SLOW)]]
    commands = [*COMMANDS, *(SLOW if name in hostile.LARGE else every_third)]
    for command in commands:
        # WHEN a command reads it
        seconds, size, status, said = run(tmp_path, command, path)
        # THEN it answers, with warnings, or with one clear line
        assert status in (0, 1), (command, status, said)
        assert "Traceback" not in said and "a bug in mapcount" not in said, (command, said)
        errors = [line for line in said.splitlines() if line.startswith("error:")]
        assert len(errors) == (1 if status and errors else 0), (command, said)
        # AND within bounds
        assert seconds < SECONDS, (command, seconds)
        assert size < MEMORY, (command, size)


def test_answer_when_an_unknown_type_is_packed(tmp_path: Path) -> None:
    # GIVEN packed blocks of a type that is not known THEN the rest of the file is read
    path = hostile.write(tmp_path / "t", hostile.FILES["packed blocks of an unknown type"]())
    _, _, status, said = run(tmp_path, "stats", path)
    assert (status, said) == (0, "")


def test_answer_when_a_snapshot_does_not_decode(tmp_path: Path) -> None:
    # GIVEN a snapshot that cannot be read THEN stats and lives tell the rest, with a warning
    path = hostile.write(tmp_path / "t", hostile.FILES["a snapshot that does not decode"]())
    for command in ("stats", "lives"):
        _, _, status, said = run(tmp_path, command, path)
        assert status == 0
        assert "does not decode" in said


def test_no_loss_is_told_when_numbers_begin_again(tmp_path: Path) -> None:
    # GIVEN a CPU whose numbers are at both ends of 32 bits WHEN asked THEN 2^32 are not lost
    path = hostile.write(tmp_path / "t", hostile.FILES["numbers at both ends of 32 bits"]())
    done = subprocess.run(
        [sys.executable, ROOT / "mapcount.py", "stats", path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "429496" not in done.stdout


def test_reader_is_not_killed_when_the_file_is_cut_short(tmp_path: Path) -> None:
    # GIVEN a trace that is open WHEN the file is truncated THEN that is one clear error
    path = tmp_path / "t.mapcount"
    path.write_bytes(hostile.GOLDEN.read_bytes())
    trace = analysis.open_trace(str(path))
    os.truncate(path, 100)
    with pytest.raises(analysis.AnalysisError, match="cut short"):
        trace.df_events()
