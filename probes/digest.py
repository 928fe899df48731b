# SPDX-License-Identifier: GPL-2.0-or-later
"""A digest of the recorder's files on which the compiled programs depend."""

from __future__ import annotations

import functools
import hashlib
import os

#: This recorder's files that decide what is made: the modules that probes/make.py needs.
SOURCES = (
    "bpf/aarch64.h",
    "bpf/editor.h",
    "bpf/folio.h",
    "bpf/given.h",
    "bpf/handlers.h",
    "bpf/pins.h",
    "bpf/record.h",
    "bpf/watch.h",
    "bpf/x86_64.h",
    "__init__.py",
    "aarch64.py",
    "arch.py",
    "btf.py",
    "cli.py",
    "compiled.py",
    "counters.py",
    "digest.py",
    "errors.py",
    "events.py",
    "headers.py",
    "hooks.py",
    "kconfig.py",
    "kernel.py",
    "layout.py",
    "limits.py",
    "make.py",
    "maps.py",
    "output.py",
    "plan.py",
    "preemption.py",
    "probe.py",
    "program.py",
    "say.py",
    "selftest.py",
    "source.py",
    "stubs.py",
    "tracefs.py",
    "visible.py",
    "x86_64.py",
)


@functools.lru_cache(maxsize=None)
def sources() -> str:
    """A digest of SOURCES: programs made by other files may not fit this recorder."""
    digest = hashlib.sha256()
    for name in SOURCES:
        with open(os.path.join(os.path.dirname(__file__), name), "rb") as file:
            content = file.read()
        digest.update(b"%s %d\n" % (name.encode(), len(content)) + content)
    return digest.hexdigest()
