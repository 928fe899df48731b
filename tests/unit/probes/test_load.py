# SPDX-License-Identifier: GPL-2.0-or-later
"""Loading the probes: fentry where it works, kprobes where kernel or BCC refuse it."""

import pytest

from probes.errors import ProbeError
from probes.plan import FENTRY, KPROBE, Plan, Probe
from probes.record import Recording, Request
from tests.unit.probes.test_plan import FakeBtf

BTF = FakeBtf({"page_remove_rmap": ["page", "vma", "compound"]})
NO_FENTRY = FakeBtf(BTF.functions, {})


def recording(monkeypatch, refused):
    """A recording whose programs do not load where they are attached in a refused way."""

    def compiled(self):
        if self.plan.probes[0].attach in refused:
            raise ProbeError("BCC cannot compile the probes")
        return "loaded"

    monkeypatch.setattr(Recording, "_compiled", compiled)
    made = Recording(Request(), None)
    made.plan = Plan([Probe(0, "page_remove_rmap", KPROBE, 0, "f(a0)", "unmap", "point", "rmap")])
    return made


@pytest.mark.parametrize("refused, attach", [((), FENTRY), ((FENTRY,), KPROBE)])
def test_load_when_fentry_may_be_refused(monkeypatch, capsys, refused, attach):
    # GIVEN a kernel that offers fentry, and may refuse it all the same
    made = recording(monkeypatch, refused)
    # WHEN the probes are loaded
    made._load(BTF)
    # THEN the plan says what they were loaded as, and a detour is told
    assert (made.program, made.plan.probes[0].attach) == ("loaded", attach)
    assert ("warning: fentry is refused here" in capsys.readouterr().err) == bool(refused)


@pytest.mark.parametrize("btf", [BTF, NO_FENTRY])
def test_load_when_kprobes_are_refused_too(monkeypatch, btf):
    # GIVEN a kernel that loads nothing THEN the reason comes out
    with pytest.raises(ProbeError, match="cannot compile"):
        recording(monkeypatch, (FENTRY, KPROBE))._load(btf)
