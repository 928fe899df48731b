# SPDX-License-Identifier: GPL-2.0-or-later
"""What the recorder tells its user while it works."""

from __future__ import annotations

from probes import cli


def say(text: str) -> None:
    """One line for the user, on stderr: results alone go to stdout."""
    told = text.startswith(("error:", "warning:", "note:"))
    cli.say(text if told else f"mapcount: {text}")
