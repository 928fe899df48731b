# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors that end a command with one clear line instead of a traceback."""

from __future__ import annotations


class ProbeError(Exception):
    """Something the user can mend; the text says what is wrong and what to do."""
