# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's output on stderr: messages, phases, and the error that ends a command."""

from __future__ import annotations

import sys

from probes import cli
from probes.errors import MapcountError
from probes.visible import visible


class LabError(MapcountError):
    """Ends the command; its text is printed as `error:`, and says what to do."""


_ticking = False


def _line(text: str) -> None:
    global _ticking
    if _ticking:  # wipe the half line that a tick left behind
        sys.stderr.write("\r\x1b[K")
        _ticking = False
    cli.say(text)


def error(text: str) -> None:
    _line(f"error: {text}")


def warning(text: str) -> None:
    _line(f"warning: {text}")


def note(text: str) -> None:
    _line(f"note: {text}")


def detail(text: str) -> None:
    """A note that is printed under -v."""
    if cli.is_verbose():
        note(text)


def phase(text: str) -> None:
    """One line per phase of work, terminal or not."""
    _line(f"lab: {text}")


def tick(text: str) -> None:
    """Progress inside a phase: one line that rewrites itself, and only on a terminal."""
    global _ticking
    if sys.stderr.isatty() and not cli.is_quiet():
        sys.stderr.write("\r\x1b[K" + visible(text)[:78])
        sys.stderr.flush()
        _ticking = True
