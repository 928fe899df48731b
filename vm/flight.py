# SPDX-License-Identifier: GPL-2.0-or-later
"""The trace of a guest that may die, completed with the records left in the guest's memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from vm import qmp, say

PROGRAMS = Path(__file__).resolve().parent.parent


@dataclass
class Flight:
    """A recording into `trace` by the guest of `run_dir`."""

    trace: Path
    run_dir: Path
    rescued: bool = False

    def rescue(self, monitor: qmp.Qmp) -> None:
        """Complete the trace from the memory of the guest, which is paused."""
        if not self.trace.exists():  # it died before its recorder began
            return
        say.phase("the guest's kernel died: reading what it had recorded out of its memory")
        core = self.run_dir / "core"
        try:
            monitor.dump(core)
            self._recover(core)
        except qmp.QmpError as error:
            say.warning(f"the guest's memory cannot be saved: {error}")
        finally:
            core.unlink(missing_ok=True)  # as large as the guest's memory

    def _recover(self, core: Path) -> None:
        command = [sys.executable, "-m", "probes", "recover", "--core", str(core)]
        command += ["--console", str(self.run_dir / "console.log"), str(self.trace)]
        done = subprocess.run(command, cwd=PROGRAMS, capture_output=True, text=True)
        if done.returncode == 0:
            self.rescued = True
            say.phase(done.stdout.strip())
        else:
            say.warning(f"nothing recovered: {done.stderr.strip().removeprefix('error: ')}")

    def report(self, died: bool) -> None:
        """Print the path of the trace (the recorder knows only its path in the guest)."""
        if not self.trace.exists():
            return
        if not died:
            say.phase(f"the trace is {self.trace}")
            return
        if not self.rescued:
            say.note("the trace has what had reached the host; what was in its ring is lost")
        say.phase(f"the trace is {self.trace}; next: `mapcount stats {self.trace}`")
