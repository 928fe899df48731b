# SPDX-License-Identifier: GPL-2.0-or-later
"""The errors that a caller of analysis can expect."""

from __future__ import annotations


class AnalysisError(Exception):
    """A trace that cannot be read, or a question that it cannot answer."""


class CommandError(AnalysisError):
    """An error of a command, with the exit code that it asks for."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
