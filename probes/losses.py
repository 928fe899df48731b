# SPDX-License-Identifier: GPL-2.0-or-later
"""Events that were not recorded: ring-full drops and missed probes, by the kernel's counts."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from probes.maps import Shape


class Losses:
    """Counts of one kind of loss, each reported once."""

    kind = ""

    def __init__(self) -> None:
        self._since = time.monotonic_ns()
        self.total = 0

    def _new(self) -> List[Tuple[int, int, int]]:
        """(cpu, probe, number) of what was lost since the last call."""
        raise NotImplementedError

    def poll(self) -> Optional[Dict[str, Any]]:
        """A LOSS block's content if something was lost since the last call, else None."""
        # What is lost while the counts are read lies in this span and in the next one.
        since, self._since = self._since, time.monotonic_ns()
        lost = self._new()
        if not lost:
            return None
        self.total += sum(count for _, _, count in lost)
        return {"from": since, "to": time.monotonic_ns(), "kind": self.kind, "lost": lost}


class RingLosses(Losses):
    """Records that found their ring full: the kernel's counts, less those reported before."""

    kind = "ring"

    def __init__(self, counts: memoryview, shape: Shape) -> None:
        super().__init__()
        self._counts = counts
        self._shape = shape
        self._seen = bytes(counts.nbytes)

    def _new(self) -> List[Tuple[int, int, int]]:
        bytes_now = self._counts.tobytes()
        words = memoryview(bytes_now).cast("Q")
        before = memoryview(self._seen).cast("Q")
        self._seen = bytes_now
        lost: List[Tuple[int, int, int]] = []
        per_cpu = self._shape.count_words
        for cpu in range(self._shape.cpus):
            start = cpu * per_cpu + 1
            if words[start : start + per_cpu - 1] == before[start : start + per_cpu - 1]:
                continue
            for probe in range(per_cpu - 1):
                count = words[start + probe] - before[start + probe]
                if count:
                    lost.append((cpu, probe, count))
        return lost


class _Missed(Losses):
    """What the kernel missed by its own counts, one for each probe, of no known CPU."""

    kind = "missed"

    def __init__(self) -> None:
        super().__init__()
        self._seen: Dict[int, int] = {}

    def _counts(self) -> Dict[int, int]:
        """By probe id, how many so far."""
        raise NotImplementedError

    def _new(self) -> List[Tuple[int, int, int]]:
        lost: List[Tuple[int, int, int]] = []
        for probe, count in self._counts().items():
            new = count - self._seen.get(probe, 0)
            if new > 0:
                lost.append((-1, probe, new))
                self._seen[probe] = count
        return lost


class Misses(_Missed):
    """Runs of a program that the kernel skipped because a program was active on that CPU.

    From the programs' fdinfo (kernels from 5.12 on; before 6.7 kprobes do not count).
    ``fds``: probe id -> descriptor of its program.  ``made_up``: probe id -> how many of its
    skipped runs a second program has made up for.
    """

    def __init__(
        self, fds: Dict[int, int], made_up: Optional[Mapping[int, Callable[[], int]]] = None
    ) -> None:
        super().__init__()
        self._fds = fds
        self._made_up = made_up or {}
        # The second program was attached last.
        self._seen = {probe: self._count(probe) for probe in self._made_up}

    def _counts(self) -> Dict[int, int]:
        return {probe: self._count(probe) for probe in self._fds}

    def made_up(self) -> Dict[int, int]:
        """By probe, how many of its skipped runs a second program has made up for."""
        return {probe: count() for probe, count in self._made_up.items()}

    def _count(self, probe: int) -> int:
        skipped = _recursion_misses(self._fds[probe])
        # In this order: the second program is there at once for what was counted as skipped.
        return skipped - (self._made_up[probe]() if probe in self._made_up else 0)


class Returns(_Missed):
    """Returns that kretprobes missed: more tasks were in a function than they have room for.

    ``count``: by probe id, how many so far.
    """

    def __init__(self, count: Callable[[], Dict[int, int]]) -> None:
        super().__init__()
        self._count = count

    def _counts(self) -> Dict[int, int]:
        return self._count()


class Outside(Losses):
    """Wanted folios in memory that is not in the watch set, because it came online later.

    ``count``: how many there were so far; ``probe``: the id under which they are reported.
    """

    kind = "outside"

    def __init__(self, count: Callable[[], int], probe: int) -> None:
        super().__init__()
        self._count = count
        self._probe = probe

    def _new(self) -> List[Tuple[int, int, int]]:
        new = self._count() - self.total
        return [(-1, self._probe, new)] if new else []


def _recursion_misses(fd: int) -> int:
    try:
        with open(f"/proc/self/fdinfo/{fd}") as file:
            for line in file:
                if line.startswith("recursion_misses:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0
