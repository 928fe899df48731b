# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of the offline half; they need no kernel."""
