# SPDX-License-Identifier: GPL-2.0-or-later
"""The beginning of a program that only pretends to be vng, for tests that boot nothing."""

from pathlib import Path

import pytest

from vm import guest

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
