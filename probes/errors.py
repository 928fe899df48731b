# SPDX-License-Identifier: GPL-2.0-or-later
"""The errors that end a command with one clear line instead of a traceback."""

from __future__ import annotations


class MapcountError(Exception):
    """The base of every program's errors: something that the user can fix.

    The text says what is wrong and what to do; the command ends with ``exit_code``.
    """

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class ProbeError(MapcountError):
    """An error of the recorder."""
