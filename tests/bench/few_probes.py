# SPDX-License-Identifier: GPL-2.0-or-later
"""The recorder as a benchmark wants it: with some of its probes, or by kprobes alone.

few_probes.py fentry|kprobe all|FUNCTION[,FUNCTION…] RECORDER-ARGUMENTS…
"""

import os
import sys
import tempfile

import probes.kept
import probes.make
import probes.plan
from probes.__main__ import main

way, functions = sys.argv[1:3]
if way == "kprobe":
    probes.make.by_trampoline = lambda plan, btf, symbols: plan
if functions != "all":
    probes.plan.HOOKS = tuple(
        hook
        for hook in probes.plan.HOOKS
        if any(candidate.function in functions.split(",") for candidate in hook.candidates)
    )
    probes.plan.SITES = probes.plan.TRACEPOINTS = ()
if (way, functions) != ("fentry", "all"):
    # Others than the catalogue's, though their file would have the same name: neither kept for
    # the other guests of this kernel nor taken from what these have kept.
    os.environ[probes.kept.VARIABLE] = tempfile.mkdtemp()
sys.exit(main(sys.argv[3:]))
