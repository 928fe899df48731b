# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab that boots nothing, for tests: the beginning of a program that only pretends to be vng."""

import os
from pathlib import Path

import pytest

from vm import audits, build, guest

#: Finds its shared folders among its arguments, and leaves a status as the guest's script does:
#: nobody ever reads half a number. Before it hangs it says so, see Clock.
PRETENDS = """\
#!/bin/bash
for word; do
	case $word in
	/mapcount/out=*) out=${word#*=} ;;
	/mapcount/trace=*) traces=${word#*=} ;;
	esac
done
leave() { echo "$1" >"$2.part" && mv "$2.part" "$2"; }
hangs() { echo hangs >>"$HANGS"; }
begins() { echo 6.1.0-fake >"$out/release"; } # the command, after all that sets it up
"""


def touched(path: Path) -> Path:
    """Make an empty file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def set_lab(
    monkeypatch: pytest.MonkeyPatch, folder: Path, mapcount: Path, accelerator: str = "tcg"
) -> None:
    """Let the lab use bin/vng of FOLDER, a cache there, MAPCOUNT to audit, and no compiler."""
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("MAPCOUNT_ACCEL", accelerator)
    monkeypatch.setattr(audits, "MAPCOUNT", mapcount)
    monkeypatch.setattr(build, "workload", lambda source, *_: touched(folder / source.stem))


class Clock:
    """Time that stands still until a guest hangs, and is then long over.

    So no limit is over before the guest has done what it does until then.
    """

    def __init__(self, hangs: Path) -> None:
        self.hangs = hangs

    def monotonic(self) -> float:
        return 10_000.0 * (len(self.hangs.read_text().split()) if self.hangs.exists() else 0)


def set_clock(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let guests take their time from a Clock, by a file in FOLDER."""
    monkeypatch.setenv("HANGS", str(folder / "hangs"))
    monkeypatch.setattr(guest, "time", Clock(folder / "hangs"))
