# SPDX-License-Identifier: GPL-2.0-or-later
"""What doctor says of the kernel's memory, of which there are two ways to read it."""

import json

import pytest

from probes import doctor
from probes.errors import ProbeError


def offers(monkeypatch, kcore, bpf):
    def way(name, there, needs):
        def opened():
            if not there:
                raise ProbeError(f"no {name}: use a kernel with {needs}")
            return name

        return opened

    monkeypatch.setattr(doctor, "Kcore", way("kcore", kcore, "CONFIG_PROC_KCORE"))
    monkeypatch.setattr(doctor, "BpfMemory", way("bpf", bpf, "CONFIG_BPF_SYSCALL"))


@pytest.mark.parametrize(
    ("kcore", "bpf", "found", "line"),
    [
        (True, True, "kcore", "ok     memory: /proc/kcore is readable"),
        (False, True, "bpf", "CONFIG_PROC_KCORE; not seen: nothing, BPF reads the memory instead"),
        (False, False, None, "CONFIG_BPF_SYSCALL; not seen: anything, recording cannot begin"),
    ],
)
def test_doctor_when_there_are_ways_to_the_memory(monkeypatch, capsys, kcore, bpf, found, line):
    # GIVEN a kernel with both ways, one, or none
    offers(monkeypatch, kcore, bpf)
    # WHEN doctor looks THEN it takes the one that record takes, and says what the other lacks
    assert doctor._memory(doctor.Report(False)) == found
    output = capsys.readouterr().out
    assert output.count("\n") == 1 and line in output
    assert output.startswith("ok " if kcore else "LACKS ")


@pytest.mark.parametrize("kcore", [True, False])
def test_doctor_when_it_answers_in_json(monkeypatch, capsys, kcore):
    # GIVEN a machine that lacks something, and perhaps nothing that recording needs
    offers(monkeypatch, kcore, bpf=False)
    report = doctor.Report(as_json=True)
    # WHEN doctor tells it as JSON
    doctor._check(report, "tracefs", lambda: "/sys/kernel/tracing", "marks")
    doctor._memory(report)
    status = report.end()
    # THEN it is one value, with what each line would say, and the status says whether it is good
    told = json.loads(capsys.readouterr().out)
    assert told["good"] is kcore and status == (0 if kcore else 1)
    assert [check["name"] for check in told["checks"]] == ["tracefs", "memory"]
    assert told["checks"][0] == {
        "name": "tracefs", "good": True, "found": "/sys/kernel/tracing", "unseen": None,
    }  # fmt: skip
    assert told["checks"][1]["good"] is kcore
    assert told["checks"][1]["unseen"] == (None if kcore else doctor.ALL)
    assert told["probes"] == told["missing"] == told["counters"] == []
