# SPDX-License-Identifier: GPL-2.0-or-later
"""What tracing costs in a guest, ours beside its peers.

    python -m tests.bench.guest start|cost|loss|cpus [TRACER…]

start: instructions from the command to tracing, with all probes, by the same clock as cost;
      out/bench/guest-start.json.
cost: instructions per traced event.  One vCPU whose clock counts its instructions, so the
      figures do not depend on this machine; out/bench/guest.json.
loss: the load on every CPU at once: what is lost, what draining takes, and when the first
      event is seen; out/bench/guest-loss.json.
cpus: the load on all CPUs of guests of 1 to 16: what is lost, and what draining takes;
      out/bench/guest-many-cpus.json.

All of one table is measured in one guest, but of cpus.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

from vm import build, cache, chroot, guest, job, kernels, lab, say

HERE = Path(__file__).parent
OUT = Path("out/bench")
#: Beside bpftrace, which every guest has.
PEERS = ("trace-cmd", "linux-perf")
#: What runs in the guests.
IN_GUEST = ("in_guest.py", "few_probes.py", "bcc_callback.py", "empty_program.py")
#: A page is mapped once and unmapped once.
EVENTS_PER_PAGE = 2
#: Goals in instructions: of a whole record 200 are the consumer's.
GOALS = {
    "mapcount, fentry": 720,
    "mapcount, kprobe": 900,
    "mapcount, fentry, too small": 220,
    "mapcount, kprobe, too small": 400,
    "mapcount, fentry, another task's": 250,
    "mapcount, kprobe, another task's": 430,
}

COST_COLUMNS = {
    "tracer": "what traced the load (4 MiB touched and unmapped in 4 KiB pages); rows of mapcount "
    "have its whole record; 'another task's' and 'too small' are events that it filters out",
    "instructions": "guest instructions per page mapped or unmapped above those of no tracer, the "
    "consumer's included (median)",
    "goal": "the goal that was set",
    "spread": "the same: the largest less the smallest repeat",
    "repeats": "runs of 40 960 events",
    "consumer": "instructions of these that the tracer's own processes ran",
    "of bpftrace": "ratio to bpftrace",
    "of trace-cmd": "ratio to trace-cmd",
    "path": "the rest: the probe, its record, and the interrupts and switches of the consumer",
    "scan": "instructions per page that is read from /proc/kpageflags above those of no tracer",
    "pin": "instructions of the task that pins per pin that it takes or drops (pages registered "
    "with io_uring) above those of no tracer",
    "ready": "seconds of guest time from the command to tracing",
    "bytes": "bytes of the tracer's file for each page mapped or unmapped",
    "lost": "events that the tracer says it lost, as a share of all: lost events cost nothing",
}
COST_NOTES = [
    "Goals are missed by 20 to 60 instructions with fentry, and by 110 to 140 with kprobes. An "
    "empty program takes what the kernel takes: its trampoline, or ftrace, the kprobe and perf's "
    "call of the program. Of an event that is filtered out 97 to 114 more are ours with fentry, "
    "and 153 to 168 with a kprobe, which has to copy the page's words by a helper where fentry "
    "loads them. 24 to 34 are the recorder's looks at its rings and at its tasks, 400 a second "
    "whatever happens: with this load 900 events come between two.",
    "Of a record's path the kernel's ring takes some 170, its clock 50. The consumer's are, "
    "for each 72 bytes, the sum that detects damage, the copy into the file, and those looks.",
    "With --where each mapping has a second record. --pins costs the task that pins, and no "
    "other one.",
    "bpftrace prints more than its buffer holds under this load; lost events cost a tracer "
    "nothing, so its figure is too low. trace-cmd's file is compressed when it ends.",
]
START_COLUMNS = {
    "tracer": "what was started: mapcount with all its probes, kept by an earlier recording or "
    "compiled; bpftrace with two",
    "instructions": "guest instructions from the command to tracing, in 10^9 (median)",
    "goal": "the goal that was set",
    "spread": "the same: the largest less the smallest repeat",
    "attaching": "of these, until it attaches (one repeat)",
}
START_NOTES = [
    "Without kept programs nearly all is BCC's, which compiles all probes, where bpftrace compiles "
    "two. It happens once for each build of a kernel.",
]
#: Of bpftrace's instructions, where everything is compiled.
START_GOAL_OF_BPFTRACE = 1.5
START_GOALS = {"mapcount, kept": 2.0}
LOSS_COLUMNS = {
    "tracer": "what traced the load, which ran once on each CPU for 20 s; mapcount with programs "
    "that are kept or compiled",
    "events": "records that arrived",
    "expected": "pages mapped and unmapped by the load",
    "lost": "records that the tracer says it lost, as a share of both",
    "CPU": "CPU time of the tracer's processes, as a share of one CPU",
    "bytes": "bytes per event on disk",
    "first event": "seconds from the command to the first record",
    "compiling": "seconds from the command until it compiles",
    "attaching": "seconds from the command until it attaches",
    "recording": "seconds from the command until it records",
}
LOSS_NOTES = [
    "The load runs while a tracer starts. Where programs are compiled, the first event waits for "
    "BCC, which compiles all probes. Goal: with kept programs, before bpftrace's.",
]


#: CPUs of the guests of cpus.
MANY_CPUS = (1, 2, 8, 16)
#: Rows of cpus, and the rows of cost whose programs they take.
MANY_CPUS_TRACERS = {
    "mapcount, two probes": "mapcount, fentry",
    "mapcount, all probes": "mapcount, all probes",
}
MANY_CPUS_COLUMNS = {
    "tracer": "what traced the load, which ran once on each CPU; programs are kept",
    "CPUs": "virtual ones of the guest, emulated by two cores: they are slower the more there are",
    "events": "records that arrived",
    "lost": "records that the recorder says it lost, as a share of both",
    "times none": "how long a page takes to be mapped and unmapped, beside that without a tracer",
    "CPU": "CPU time of the recorder's processes, as a share of one CPU",
}
MANY_CPUS_NOTES = [
    "One process drains all rings: where its share of a CPU comes to 1 it is the limit, and what "
    "the load makes beyond it is lost, and told.",
    "Reckoned, not measured, for 256 CPUs and 4 TiB: the rings have 64 MiB together, 256 KiB "
    "or 3 640 records each. The watch set has 528 bytes for each 2 MiB, so 1.03 GiB. One "
    "process drains all rings, with some 220 instructions for a record: at 3 * 10^9 "
    "instructions a second that is 13 million records a second, 53 000 of each of 256 CPUs, "
    "and at that rate a ring is full after 69 ms. CPUs that do nothing but map and unmap "
    "small pages make more: the default of --min-order leaves these out; --pid and --only "
    "leave out more.",
]


def peers_root(suite: str) -> Path:
    """The root of guests that have the peers, too."""
    return chroot.ensure(suite, (*chroot.PACKAGES, *PEERS))


def boot(kind: str, wanted: list[str], seconds: float) -> dict[str, Any]:
    """Run in_guest.py in a guest.  Returns its results."""
    kernel = kernels.resolve(None)
    root = peers_root(kernel.suite) if kind == "cost" else chroot.ensure(kernel.suite)
    programs = made_programs(kernel, root, wanted, seconds) if kind == "cost" else []
    run_dir = run(kind, kernel, root, wanted, seconds, programs)
    OUT.mkdir(parents=True, exist_ok=True)
    for kept in run_dir.glob("*.data"):
        shutil.copy2(kept, OUT / kept.name)
    # Whatever was measured before that is there.
    found: dict[str, Any] = json.loads((run_dir / "result.json").read_text())
    return found


def boot_many(wanted: list[str], seconds: float) -> dict[int, dict[str, Any]]:
    """Run in_guest.py in guests of 1 to 16 CPUs.  Returns the results of each."""
    kernel = kernels.resolve(None)
    root = chroot.ensure(kernel.suite)
    wanted = wanted or list(MANY_CPUS_TRACERS)
    of_cost = [MANY_CPUS_TRACERS[name] for name in wanted]
    programs = made_programs(kernel, root, of_cost, seconds)
    OUT.mkdir(parents=True, exist_ok=True)
    found = {}
    for cpus in MANY_CPUS:
        results = run("cpus", kernel, root, wanted, seconds, programs, cpus) / "result.json"
        # Guests of many CPUs, which take turns, may take too long.
        found[cpus] = json.loads(results.read_text()) if results.exists() else {}
    return found


def made_programs(
    kernel: kernels.Kernel, root: Path, wanted: list[str], seconds: float
) -> list[Path]:
    """The recorder's programs for these rows of cost, compiled in a guest of their own."""
    return sorted(run("programs", kernel, root, wanted, seconds, []).glob("*.programs"))


def run(
    kind: str,
    kernel: kernels.Kernel,
    root: Path,
    wanted: list[str],
    seconds: float,
    more: list[Path],
    cpus: int | None = None,
) -> Path:
    """Run in_guest.py in one guest, with more files beside it.  Returns their directory."""
    run_dir = cache.new_run_dir(f"bench-{kind}")
    files = [build.workload(HERE / "touch.c"), *more]
    files += [HERE / name for name in IN_GUEST]
    for path in files:
        shutil.copy2(path, run_dir / path.name)
    counted = kind in ("start", "cost")
    machine = guest.Machine(
        image=kernels.image_of(kernel, root),
        root=root,
        kvm=False,
        cpus=cpus or (1 if counted else 2),
        shares=(guest.Share(f"{job.SOURCE}/probes", lab.PROBES), lab.compiled_share(run_dir)),
        qemu=("-icount", "shift=0") if counted else (),
    )
    command = ["python3", f"{job.OUT}/in_guest.py", kind, f"{job.OUT}/result.json", *wanted]
    say.phase(f"booting {kernel.name} for {kind}")
    result = guest.run(machine, job.script(command, policy="madvise"), run_dir, seconds)
    if result.exit_code:
        say.warning(f"the guest {result.outcome.value}, status {result.status}: see {run_dir}")
    return run_dir


def cost_rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a tracer, with its cost per event above that of none."""
    none = statistics.median(ns for _, ns, _ in results["none"]["runs"])
    scanned = statistics.median(ns for _, ns in results["none"]["scan"])
    by_pin = [ns / pins for pins, ns in results["none"].get("pin", ())]
    pinned = statistics.median(by_pin) if by_pin else None
    rows: list[dict[str, Any]] = []
    for name, result in results.items():
        if "error" in result:
            say.warning(f"{name}: {result['error']}")
            continue
        runs = result["runs"]
        each = [(ns - none) / (EVENTS_PER_PAGE * pages) for pages, ns, _ in runs]
        own = [ns / (EVENTS_PER_PAGE * pages) for pages, _, ns in runs]
        row = {"tracer": name, "instructions": round(statistics.median(each))}
        row["goal"] = GOALS.get(name)
        row |= {"spread": round(max(each) - min(each)), "repeats": len(each)}
        row["consumer"] = round(statistics.median(own))
        row["path"] = row["instructions"] - row["consumer"]
        scans = [(ns - scanned) / pages for pages, ns in result["scan"]]
        row["scan"] = round(statistics.median(scans))
        if pinned is not None and "pin" in result:
            pins = [ns / pins - pinned for pins, ns in result["pin"]]
            row["pin"] = round(statistics.median(pins))
        row["ready"] = round(result["ready"], 1) if "ready" in result else None
        made = EVENTS_PER_PAGE * result["touched"]
        row["bytes"] = round(result["bytes"] / made, 1) if "bytes" in result else None
        row["lost"] = round(result["lost"] / made, 3) if "lost" in result else None
        rows.append(row)
    by_name = {row["tracer"]: row["instructions"] for row in rows}
    for row in rows:
        for peer in ("bpftrace", "trace-cmd"):
            if peer in by_name:
                row[f"of {peer}"] = round(row["instructions"] / by_name[peer], 3)
    return rows


def start_rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a tracer: what it executes before it traces."""
    medians = {
        name: statistics.median(result["seconds"])
        for name, result in results.items()
        if "seconds" in result
    }
    goals = dict(START_GOALS)
    if "bpftrace" in medians:
        goals["mapcount, compiled"] = round(START_GOAL_OF_BPFTRACE * medians["bpftrace"], 1)
    rows = []
    for name, result in results.items():
        if "error" in result:
            say.warning(f"{name}: {result['error']}")
            continue
        attaching = result["phases"]["attaching"]
        rows.append(
            {
                "tracer": name,
                "instructions": round(medians[name], 2),
                "goal": goals.get(name),
                "spread": round(max(result["seconds"]) - min(result["seconds"]), 2),
                "attaching": round(attaching, 2) if attaching else None,
            }
        )
    return rows


def loss_rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a tracer: its losses under the load, its own work, its start."""
    rows = []
    for name, result in results.items():
        if "error" in result:
            say.warning(f"{name}: {result['error']}")
            continue
        made = result["events"] + result["lost"]
        rows.append(
            {
                "tracer": name,
                "events": result["events"],
                "expected": EVENTS_PER_PAGE * result["pages"],
                "lost": round(result["lost"] / made, 6),
                "CPU": round(result["cpu"] / result["wall"], 3),
                "bytes": round(result["bytes"] / result["events"], 1),
                "first event": round(result["first"], 2),
                **{phase: at and round(at, 2) for phase, at in result["phases"].items()},
            }
        )
    return rows


def many_cpus_rows(results: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each recorder and number of CPUs: its losses, its cost, and its own work."""
    rows = []
    for cpus, by_name in results.items():
        for name, result in by_name.items():
            if name == "none":
                continue
            if "error" in result:
                say.warning(f"{name} with {cpus} CPUs: {result['error']}")
                continue
            each = [one["wall"] / one["pages"] for one in (result, by_name["none"])]
            rows.append(
                {
                    "tracer": name,
                    "CPUs": cpus,
                    "events": result["events"],
                    "lost": round(result["lost"] / (result["events"] + result["lost"]), 6),
                    "times none": round(each[0] / each[1], 2),
                    "CPU": round(result["cpu"] / result["wall"], 3),
                }
            )
    return sorted(rows, key=lambda row: list(MANY_CPUS_TRACERS).index(row["tracer"]))


def main(argv: list[str] | None = None) -> int:
    """Measure one table and write it as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.guest")
    parser.add_argument("kind", choices=["start", "cost", "loss", "cpus"])
    parser.add_argument("tracer", nargs="*", help="only these tracers")
    parser.add_argument("--seconds", type=float, default=3600.0, help="time limit of the guest")
    args = parser.parse_args(argv)
    if args.kind == "cpus":
        table = {
            "name": "guest-many-cpus",
            "title": "In guests of 1 to 16 CPUs: losses at saturation, and the drain's share",
            "columns": MANY_CPUS_COLUMNS,
            "rows": many_cpus_rows(boot_many(args.tracer, args.seconds)),
            "notes": MANY_CPUS_NOTES,
        }
        return write(table)
    results = boot(args.kind, args.tracer, args.seconds)
    if args.kind == "start":
        table = {
            "name": "guest-start",
            "title": "In the guest: from the command to tracing",
            "columns": START_COLUMNS,
            "rows": start_rows(results),
            "notes": START_NOTES,
        }
    elif args.kind == "cost":
        table = {
            "name": "guest",
            "title": "In the guest: what one traced event costs",
            "columns": COST_COLUMNS,
            "rows": cost_rows(results),
            "notes": COST_NOTES,
        }
    else:
        table = {
            "name": "guest-loss",
            "title": "In the guest: losses at saturation, and the time to the first event",
            "columns": LOSS_COLUMNS,
            "rows": loss_rows(results),
            "notes": LOSS_NOTES,
        }
    return write(table)


def write(table: dict[str, Any]) -> int:
    """Print a table's rows and keep it for tests.bench.table."""
    path = OUT / f"{table['name']}.json"
    path.write_text(json.dumps(table, indent=1) + "\n")
    for row in table["rows"]:
        print(json.dumps(row))
    print(f"wrote {path}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
