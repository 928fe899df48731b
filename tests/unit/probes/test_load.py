# SPDX-License-Identifier: GPL-2.0-or-later
"""Loading the probes: fentry where it works, kprobes where the kernel refuses it."""

from types import SimpleNamespace

import pytest

import probes.record
from probes.errors import ProbeError
from probes.kept import COMPILED, GIVEN, KEPT, Found
from probes.loader import Refused
from probes.plan import Plan
from probes.probe import FENTRY, KPROBE, Probe
from probes.record import Recording, Request


def programs(attach):
    return SimpleNamespace(
        plan=Plan([Probe(0, "page_remove_rmap", attach, 0, "f", (), "unmap", "point", "rmap")])
    )


def recording(monkeypatch, refused):
    """A recording whose programs do not load where they are attached in a refused way."""

    def load(self, found):
        attach = found.made.plan.probes[0].attach
        if attach in refused:
            raise (Refused if attach == FENTRY else ProbeError)(f"the kernel refuses {attach}")
        self.program = attach

    def make_again(use_cache, kcore, trampolines=True):
        return Found(programs(FENTRY if trampolines else KPROBE), COMPILED)

    monkeypatch.setattr(Recording, "_load", load)
    monkeypatch.setattr(probes.record, "make_and_keep", make_again)
    made = Recording(Request(), None)
    made.kcore = None
    return made


@pytest.mark.parametrize("way", [KEPT, COMPILED])
@pytest.mark.parametrize("refused, attach", [((), FENTRY), ((FENTRY,), KPROBE)])
def test_load_when_fentry_may_be_refused(monkeypatch, capsys, way, refused, attach):
    # GIVEN programs for a kernel that offers fentry, and may refuse it all the same
    made = recording(monkeypatch, refused)
    # WHEN they are loaded
    made._start(Found(programs(FENTRY), way))
    # THEN what is loaded works, and a detour is told
    assert made.program == attach
    assert ("warning: the kernel refuses fentry" in capsys.readouterr().err) == bool(refused)


@pytest.mark.parametrize("attach", [FENTRY, KPROBE])
def test_load_when_kprobes_are_refused_too(monkeypatch, attach):
    # GIVEN a kernel that loads nothing THEN the reason comes out
    with pytest.raises(ProbeError, match="the kernel refuses kprobe"):
        recording(monkeypatch, (FENTRY, KPROBE))._start(Found(programs(attach), COMPILED))


def test_load_when_what_the_user_gave_is_refused(monkeypatch):
    # GIVEN a file of the user's, made for a machine without a compiler THEN nothing is compiled
    with pytest.raises(ProbeError, match="the kernel refuses fentry"):
        recording(monkeypatch, (FENTRY,))._start(Found(programs(FENTRY), GIVEN, "a.programs"))
