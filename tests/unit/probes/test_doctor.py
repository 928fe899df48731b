# SPDX-License-Identifier: GPL-2.0-or-later
"""What doctor says of what there is more than one way to: the kernel's memory, the programs."""

import json

import pytest

from probes import doctor, kept
from probes.compiled import pack
from probes.errors import ProbeError
from probes.kept import COMPILED, GIVEN, KEPT
from tests.unit.probes.programs import BUILD_ID, compiled


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
        (False, True, "bpf", "CONFIG_PROC_KCORE; not seen: nothing: memory is read by BPF instead"),
        (False, False, None, "CONFIG_BPF_SYSCALL; not seen: anything: recording cannot start"),
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


def cache(monkeypatch, folder):
    """An empty cache, on a kernel and with a BCC for which compiled() is made."""
    monkeypatch.setenv(kept.VARIABLE, str(folder / "cache"))
    monkeypatch.setattr(kept, "build_id", lambda: BUILD_ID)
    monkeypatch.setattr(kept, "bcc_version", lambda: "0.26.0")
    monkeypatch.setattr("probes.make.make", lambda *_: compiled())


@pytest.mark.parametrize(
    ("is_kept", "is_given", "use_cache", "way"),
    [
        (True, True, True, GIVEN),
        (False, True, True, GIVEN),
        (True, False, True, KEPT),
        (False, False, True, COMPILED),
        (True, False, False, COMPILED),
    ],
)
def test_doctor_when_a_recording_has_three_ways(
    monkeypatch, capsys, tmp_path, is_kept, is_given, use_cache, way
):
    # GIVEN a machine that has kept its programs, or was given some, or both, or neither
    cache(monkeypatch, tmp_path)
    offers(monkeypatch, kcore=True, bpf=False)
    monkeypatch.setattr(doctor, "find_types", lambda: pytest.fail("asked for types"))
    monkeypatch.setattr(doctor, "text_start", lambda: 0)
    monkeypatch.setattr(doctor, "unreadable", lambda *_: [])
    paths = {COMPILED: "", KEPT: "", GIVEN: str(tmp_path / "given") if is_given else ""}
    if is_kept:
        paths[KEPT] = kept.keep(compiled())
    if is_given:
        (tmp_path / "given").write_bytes(pack(compiled()))
    programs = doctor.Programs(paths[GIVEN] or None, use_cache)
    # WHEN doctor looks THEN it names the way and the file, and whether anything is compiled
    told = programs.look()
    if way == COMPILED:
        assert told.startswith("will be compiled")
        assert (f"kept in {tmp_path}/cache" in told) is use_cache
        assert programs.made is None
    else:
        assert told.startswith(f"{way} in {paths[way]}, ")
        assert "neither BCC nor headers" in told
        # AND it asks for neither, and shows the probes of those programs
        report = doctor.Report(as_json=True)
        doctor._examine(report, programs)
        report.end()
        answer = json.loads(capsys.readouterr().out)
        names = [check["name"] for check in answer["checks"]]
        assert {"bcc", "kernel headers", "types"}.isdisjoint(names)
        assert [probe["op"] for probe in answer["probes"]] == ["unmap", "dup"]
    # AND a recording that is told the same goes that way
    assert kept.find_or_make(paths[GIVEN] or None, use_cache, None).way == way


@pytest.mark.parametrize(
    ("cpus", "told"),
    [(2, "2 of 4096 KiB each, one for each CPU that is online: 8 MiB by default (--buffer)"),
     (256, "256 of 256 KiB each, one for each CPU that is online: 64 MiB by default (--buffer)")],
)  # fmt: skip
def test_doctor_when_it_tells_of_the_rings(monkeypatch, cpus, told):
    # GIVEN a machine of some CPUs WHEN doctor looks THEN it says how much each may have
    monkeypatch.setattr(doctor, "online_cpus", lambda: tuple(range(cpus)))
    assert doctor._rings() == told
