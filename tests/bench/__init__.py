# SPDX-License-Identifier: GPL-2.0-or-later
"""Measures mapcount beside its peers; each bench writes one file of out/bench/."""
