# SPDX-License-Identifier: GPL-2.0-or-later
"""Random programs of every operation, against the kernel's own counters, within CI's time.

MAPCOUNT_FUZZ_SEEDS (FIRST:END) asks for others or more; a long run over many guests is
`python -m tests.kernel.fuzzing`.
"""

import os

from tests.kernel.fuzzing import Programs, run, shorten

KERNEL = os.environ.get("MAPCOUNT_KERNEL", "6.1")
SEEDS = os.environ.get("MAPCOUNT_FUZZ_SEEDS", "1:9")


def test_counts_of_random_programs_when_verified_at_every_mark(tmp_path):
    # GIVEN the programs of some seeds, recorded in one guest
    first, end = map(int, SEEDS.split(":"))
    outcome = run(Programs(first, end - first, 60, 10), KERNEL, tmp_path / "fuzz.mapcount")
    # WHEN the replay is held against the kernel at each mark
    failure = outcome.failure
    if failure:
        failure = shorten(failure, lambda p: run(p, KERNEL, tmp_path / "short.mapcount"))
    # THEN nothing differs; else the seed and its shortest failing program are named
    assert failure is None, str(failure)
    assert outcome.lost == 0
    # AND the programs did something: the snapshots hold more than a few pages
    assert outcome.marks >= (end - first) * 6
    assert outcome.checked > 1000 * (end - first)
