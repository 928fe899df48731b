# SPDX-License-Identifier: GPL-2.0-or-later
"""The errors that a caller of analysis can expect."""

from __future__ import annotations

from probes.errors import MapcountError


class AnalysisError(MapcountError):
    """A trace that cannot be read, or a question that it cannot answer."""


class CommandError(AnalysisError):
    """An error of a command."""
