# SPDX-License-Identifier: GPL-2.0-or-later
"""The recorder: kprobes on a lab kernel, written as a trace file.

Needs the standard library and, in ``program.py`` alone, bcc.
"""

__version__ = "1.0.0rc1"
