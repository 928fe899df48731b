# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace for other programs: tables as CSV or Parquet, tracks and counters for Perfetto."""
