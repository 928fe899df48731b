# SPDX-License-Identifier: GPL-2.0-or-later
"""The HTML page of a trace: one module for each of its sections."""

#: Lives that have a row in its table, and records of lives that it can draw.
LIVES, RECORDS = 100_000, 100_000
