# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures: one module per panel, all on one shared time axis."""
