# SPDX-License-Identifier: GPL-2.0-or-later
"""The recorder's messages while it works."""

from __future__ import annotations

from probes import cli


def say(text: str) -> None:
    """Print one line on stderr; only results go to stdout."""
    told = text.startswith(("error:", "warning:", "note:"))
    cli.say(text if told else f"mapcount: {text}")
