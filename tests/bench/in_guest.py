# SPDX-License-Identifier: GPL-2.0-or-later
"""In the guest: each tracer beside the load, and what that cost.

    in_guest.py start|cost|loss|cpus RESULT.json [TRACER…]
    in_guest.py programs RESULT.json

The second compiles the recorder's programs for cost and cpus, which takes long where instructions
are counted, and leaves them beside RESULT.json.

Everything of a tracer but its result lies in memory (/tmp), so that no disk is measured.
"""

import contextlib
import ctypes
import json
import mmap
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from probes.tracefile import BlockType, Reader

HERE = Path(__file__).parent
PROBES = Path("/sys/kernel/debug/kprobes/list")
EVENTS = Path("/sys/kernel/tracing")
#: What every tracer looks at; the load calls each once for a page.
FUNCTIONS = ("page_add_new_anon_rmap", "page_remove_rmap")
ROUNDS = 20
#: Which pages a reader of /proc/kpageflags reads: memory that nobody has asked to watch.
SCAN_FROM, SCAN_PAGES = 0x10000, 0x4000
#: How many pages are pinned; io_uring_setup() and io_uring_register() on every machine.
PIN_PAGES, IO_URING_SETUP, IO_URING_REGISTER = 1024, 425, 427
REPEATS = 5
STARTS = 3
READY_SECONDS = 300
#: How long the load runs on each CPU, where time is real, and where it counts instructions.
SATURATE_SECONDS = 20

#: Whose files are read by tests.bench.peers.
KEPT = {"mapcount, fentry": "mapcount.data", "trace-cmd": "trace-cmd.data", "perf": "perf.data"}

CALLBACK = ["python3", str(HERE / "bcc_callback.py")]
EMPTY = ["python3", str(HERE / "empty_program.py")]
BPFTRACE = (
    "kprobe:page_add_new_anon_rmap, kprobe:page_remove_rmap {"
    ' printf("%lu %d %d %s %s %lx %d %d\\n", nsecs, cpu, tid, comm, probe, arg0,'
    " *(int32 *)(arg0 + 48), *(int32 *)(arg0 + 52)); }"
)
#: The fields that the peers record beside what they always do: the page and its two counts.
FETCH = "page=%di mapcount=+48(%di):s32 refcount=+52(%di):s32"


class Tracer:
    """A running tracer: its messages with the time of each, and the CPU time it has used."""

    def __init__(self, command, out):
        self.out = Path(out)
        self.out.unlink(missing_ok=True)
        self.messages = []
        self.started = time.monotonic_ns()
        env = dict(os.environ, BPFTRACE_PERF_RB_PAGES="2048", BPFTRACE_STRLEN="32")
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            cwd="/tmp",
            env=env,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.messages.append((time.monotonic_ns(), line.rstrip()))

    @property
    def text(self):
        return "\n".join(line for _, line in self.messages)

    def at(self, word):
        """Seconds from the start to the first message with this word."""
        times = [ts for ts, line in self.messages if word in line]
        return (times[0] - self.started) / 1e9 if times else None

    def wait(self, ready, interval=0.02):
        deadline = time.monotonic() + READY_SECONDS
        while not ready(self):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no tracing: {self.text[-2000:]}")
            time.sleep(interval)

    def cpu_ns(self):
        """What all processes of the tracer's session have used."""
        total = 0
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                session = (process / "stat").read_text().rsplit(")", 1)[1].split()[3]
                if int(session) == self.process.pid:
                    for task in process.glob("task/*/schedstat"):
                        total += int(task.read_text().split()[0])
        return total

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise RuntimeError(f"does not end: {self.text[-2000:]}") from None
        self._reader.join(10)


def armed(_tracer):
    """Both functions have a kprobe that is not asleep."""
    awake = [line for line in PROBES.read_text().splitlines() if "[DISABLED]" not in line]
    return all(any(f"{name}+0x0" in line for line in awake) for name in FUNCTIONS)


def recording(tracer):
    return "recording" in tracer.text


def kprobe_events():
    lines = (f"p:bench/{name} {name} {FETCH}\n" for name in FUNCTIONS)
    (EVENTS / "kprobe_events").write_text("".join(lines))


def no_kprobe_events():
    (EVENTS / "kprobe_events").write_text("\n")


def programs(way, functions):
    """Where compile_programs() puts the recorder's programs with these probes."""
    return HERE / f"{way}-{'all' if functions == 'all' else 'few'}.programs"


def few_probes(way, functions):
    return ["python3", str(HERE / "few_probes.py"), way, functions]


def compile_programs(way, functions):
    path = programs(way, functions)
    # In a cache of their own: any other would take them for the whole ones, or has these.
    env = {**os.environ, "MAPCOUNT_CACHE": f"/tmp/{path.name}"}
    subprocess.run([*few_probes(way, functions), "compile", "-o", str(path)], env=env, check=True)


def ours(way, functions, *options):
    record = ["python3", "-m", "probes", "record", "-f", "-o", "/tmp/out"]
    return [*record, "--compiled", str(programs(way, functions)), *options], recording


def cost_tracers(other):
    """name -> (command, when it traces).  OTHER is the pid of a task that does nothing."""
    two, every = ",".join(FUNCTIONS), ("--min-order", "0")
    return {
        "an empty program, fentry": ([*EMPTY, "fentry", two], recording),
        "an empty program, kprobe": ([*EMPTY, "kprobe", two], recording),
        "mapcount, fentry": ours("fentry", two, *every),
        "mapcount, kprobe": ours("kprobe", two, *every),
        "bpftrace": (["bpftrace", "-o", "/tmp/out", "-e", BPFTRACE], armed),
        "trace-cmd": (["trace-cmd", "record", "-e", "bench", "-o", "/tmp/out"], armed),
        "perf": (["perf", "record", "-a", "-e", "bench:*", "-o", "/tmp/out"], armed),
        "BCC ring callback": ([*CALLBACK, "ring", two, "/tmp/out"], armed),
        "BCC perf callback": ([*CALLBACK, "perf", two, "/tmp/out"], armed),
        "mapcount, fentry, --stacks": ours("fentry", two, *every, "--stacks"),
        "mapcount, kprobe, --stacks": ours("kprobe", two, *every, "--stacks"),
        "mapcount, fentry, --where": ours("fentry", two, *every, "--where"),
        "mapcount, kprobe, --where": ours("kprobe", two, *every, "--where"),
        "mapcount, fentry, too small": ours("fentry", two, "--min-order", "9"),
        "mapcount, kprobe, too small": ours("kprobe", two, "--min-order", "9"),
        "mapcount, fentry, another task's": ours("fentry", two, *every, "--pid", other),
        "mapcount, kprobe, another task's": ours("kprobe", two, *every, "--pid", other),
        "mapcount, all probes": ours("fentry", "all", *every),
        "mapcount, all probes, --pins": ours("fentry", "all", *every, "--pins"),
        "mapcount, all probes, another task's": ours("fentry", "all", "--pid", other),
        "mapcount, all kprobes, another task's": ours("kprobe", "all", "--pid", other),
    }


def touch(*args):
    """(pages, ns, pages with those before the time ran) of one run of the load."""
    text = subprocess.run(
        [HERE / "touch", *map(str, args)], check=True, capture_output=True, text=True
    ).stdout
    return tuple(map(int, text.split()))


def measure(tracer=None):
    """The runs, what of each the tracer's own processes used, and all pages touched."""
    *_, total = touch(1)
    runs = []
    for _ in range(REPEATS):
        before = tracer.cpu_ns() if tracer else 0
        pages, ns, touched = touch(ROUNDS)
        runs.append((pages, ns, tracer.cpu_ns() - before if tracer else 0))
        total += touched
    return {"runs": runs, "touched": total}


def scan():
    """(pages, ns) of one reading of /proc/kpageflags, for each of some."""
    runs = []
    with open("/proc/kpageflags", "rb", buffering=0) as file:
        for _ in range(REPEATS + 1):
            file.seek(SCAN_FROM * 8)
            start = time.monotonic_ns()
            pages = len(file.read(SCAN_PAGES * 8)) // 8
            runs.append((pages, time.monotonic_ns() - start))
    return runs[1:]


def pin():
    """(pins and unpins, ns) of some pages that are registered with io_uring and given back, for
    each of some.  The time is that of the task alone: io_uring waits for a grace period, too."""
    libc = ctypes.CDLL(None, use_errno=True)
    area = mmap.mmap(-1, PIN_PAGES * mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(mmap.MADV_NOHUGEPAGE)
    for at in range(0, len(area), mmap.PAGESIZE):
        area[at] = 1
    ring = libc.syscall(IO_URING_SETUP, 1, ctypes.create_string_buffer(120))
    span = (ctypes.c_ulong * 2)(ctypes.addressof(ctypes.c_char.from_buffer(area)), len(area))
    runs = []
    for _ in range(REPEATS + 1):
        start = time.thread_time_ns()
        failed = libc.syscall(IO_URING_REGISTER, ring, 0, span, 1)
        failed = failed or libc.syscall(IO_URING_REGISTER, ring, 1, None, 0)
        runs.append((2 * PIN_PAGES, time.thread_time_ns() - start))
        if failed:
            raise RuntimeError(f"io_uring: {os.strerror(ctypes.get_errno())}")
    os.close(ring)
    return runs[1:]


def cost(wanted):
    """(name, result) of each tracer."""
    other = subprocess.Popen(["sleep", "100000"])
    yield "none", {**measure(), "scan": scan(), "pin": pin()}
    for name, (command, ready) in cost_tracers(str(other.pid)).items():
        if not wanted or name in wanted:
            yield name, one_cost(name, command, ready)
    other.kill()


def one_cost(name, command, ready):
    peer_events = name in ("trace-cmd", "perf")
    if peer_events:
        kprobe_events()
    tracer = Tracer(command, "/tmp/out")
    try:
        tracer.wait(ready)
        ready_after = (time.monotonic_ns() - tracer.started) / 1e9
        time.sleep(1)
        result = {**measure(tracer), "scan": scan(), "pin": pin(), "ready": ready_after}
        tracer.end()
        if name.startswith("an empty program"):
            return result
        result["bytes"] = tracer.out.stat().st_size
        if not peer_events:
            result["lost"] = arrived(name, tracer)[1]
        if name in KEPT:
            shutil.copy2(tracer.out, HERE / KEPT[name])
        return result
    except RuntimeError as error:
        return {"error": str(error)}
    finally:
        tracer.end()
        print(tracer.text[-600:], flush=True)
        for part in Path("/tmp").glob("out*"):
            part.unlink()
        if peer_events:
            no_kprobe_events()


def start_tracers():
    """name -> (command, when it traces)."""
    record = ["python3", "-m", "probes", "record", "-o", "/tmp/out"]
    return {
        "mapcount, kept": (record, recording),
        "mapcount, compiled": ([*record, "--no-cache"], recording),
        "bpftrace": (["bpftrace", "-o", "/tmp/out", "-e", BPFTRACE], armed),
    }


def start(wanted):
    """(name, result) of each tracer."""
    # What is kept is there, and the page cache has what the tracers read, in every run.
    subprocess.run(["python3", "-m", "probes", "compile", "-o", "/tmp/programs"], check=True)
    for name, (command, ready) in start_tracers().items():
        if not wanted or name in wanted:
            yield name, one_start(command, ready)


def one_start(command, ready):
    """How long the tracer takes from its command until it traces, for each of some runs."""
    seconds, phases = [], {}
    for _ in range(STARTS):
        tracer = Tracer(command, "/tmp/out")
        try:
            tracer.wait(ready, 0.001)
            seconds.append((time.monotonic_ns() - tracer.started) / 1e9)
            time.sleep(1)  # it traces already, but may not heed a signal yet
        except RuntimeError as error:
            return {"error": str(error)}
        finally:
            tracer.end()
    for word in ("compiling", "attaching", "recording"):
        phases[word] = tracer.at(word)
    return {"seconds": seconds, "phases": phases}


def loss_tracers():
    two, every = ",".join(FUNCTIONS), ("--min-order", "0")
    record = [*few_probes("fentry", two), "record", "-f", "-o", "/tmp/out"]
    return {
        # Not with all its probes: that does not fit into the memory of the guest.
        "mapcount, kept": ours("fentry", two, *every),
        "mapcount, compiled": ([*record, *every], recording),
        "BCC ring callback": ([*CALLBACK, "ring", two, "/tmp/out"], armed),
        "bpftrace": (["bpftrace", "-o", "/tmp/out", "-e", BPFTRACE], armed),
    }


def cpus(wanted):
    """(name, result) of our own tracers, under the load of loss(), and of no tracer."""
    two, every = ",".join(FUNCTIONS), ("--min-order", "0")
    yield "none", saturated(SATURATE_SECONDS)
    for name in wanted:
        functions = "all" if "all probes" in name else two
        yield name, one_loss(name, *ours("fentry", functions, *every))


def loss(wanted):
    """(name, result) of each tracer."""
    compile_programs("fentry", ",".join(FUNCTIONS))
    for name, (command, ready) in loss_tracers().items():
        if not wanted or name in wanted:
            yield name, one_loss(name, command, ready)


def saturated(seconds, tracer=None):
    """Pages that the load touched on all CPUs, how long that took, and the tracer's CPU time."""
    begin, used = time.monotonic_ns(), tracer.cpu_ns() if tracer else 0
    command = [HERE / "touch", "1", str(seconds)]
    loads = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for _ in range(os.cpu_count() or 1)
    ]
    pages = sum(int(load.communicate()[0].split()[0]) for load in loads)
    wall = (time.monotonic_ns() - begin) / 1e9
    return {"pages": pages, "wall": wall, "cpu": (tracer.cpu_ns() - used) / 1e9 if tracer else 0}


def one_loss(name, command, ready):
    """The load on every CPU, from before the tracer's start: when it sees the first
    event, what it loses, and what its own work takes."""
    warm = [subprocess.Popen([HERE / "touch", "1", "100000"], stdout=subprocess.DEVNULL)]
    tracer = Tracer(command, "/tmp/out")
    try:
        tracer.wait(ready)
        time.sleep(1)
        warm.pop().kill()
        result = saturated(SATURATE_SECONDS, tracer)
        tracer.end()
        return {**result, **received(name, tracer)}
    except RuntimeError as error:
        return {"error": str(error)}
    finally:
        for load in warm:
            load.kill()
        if tracer.process.poll() is None:
            tracer.end()
        print(tracer.text[-600:], flush=True)
        tracer.out.unlink(missing_ok=True)


def arrived(name, tracer):
    """How many events arrived, and how many the tracer says it lost."""
    if name.startswith("mapcount"):
        told = re.search(r"(\d+) events, (\d+) lost", tracer.text)
        if told is None:
            raise RuntimeError(f"did not end well: {tracer.text[-600:]}")
        return int(told[1]), int(told[2])
    if name.startswith("BCC"):
        count, lost, _first = tracer.text.splitlines()[-1].split()
        return int(count), int(lost)
    with open(tracer.out) as file:
        count = sum(line[:1].isdigit() for line in file)
    said = tracer.text + tracer.out.read_text(errors="replace")
    return count, sum(map(int, re.findall(r"Lost (\d+) events", said)))


def received(name, tracer):
    """What arrived, what the tracer says it lost, and when its first event was made."""
    count, lost = arrived(name, tracer)
    phases = {}
    if name.startswith("mapcount"):
        first = first_record(tracer.out)
        phases = {word: tracer.at(word) for word in ("compiling", "attaching", "recording")}
    elif name.startswith("BCC"):
        first = int(tracer.text.split()[-1])
    else:
        with open(tracer.out) as file:
            first = next(int(line.split()[0]) for line in file if line[:1].isdigit())
    return {
        "events": count,
        "lost": lost,
        "bytes": tracer.out.stat().st_size,
        "first": (first - tracer.started) / 1e9,
        "phases": phases,
    }


def first_record(path):
    """The time of the first event in a trace file."""
    with Reader(str(path)) as reader:
        for block in reader.blocks():
            if block.type == BlockType.EVENTS:
                return int.from_bytes(block.payload[8:16], "little")
    raise RuntimeError("no event was recorded")


def main():
    kind, path, *wanted = sys.argv[1:]
    if kind == "programs":
        chosen = [what for name, what in cost_tracers("1").items() if not wanted or name in wanted]
        for way in ("fentry", "kprobe"):
            for functions in ("all", ",".join(FUNCTIONS)):
                if any(str(programs(way, functions)) in command for command, _ in chosen):
                    compile_programs(way, functions)
        return
    results = {}
    kinds = {"start": start, "cost": cost, "loss": loss, "cpus": cpus}
    for name, result in kinds[kind](wanted):
        results[name] = result
        print(name, result, flush=True)
        # At once: should the guest's time end, what was measured stays.
        Path(path).write_text(json.dumps(results, indent=1))


main()
