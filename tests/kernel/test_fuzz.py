# SPDX-License-Identifier: GPL-2.0-or-later
"""Random programs of every operation, against the kernel's own counters, on every kernel.

MAPCOUNT_FUZZ_SEEDS (FIRST:END) asks for others or more; a long run over many guests is
`python -m tests.kernel.fuzzing`.
"""

import pytest

from tests.kernel.fuzzing import run, shorten
from tests.kernel.jobs import FUZZ, LAB_KERNELS


@pytest.mark.truth
@pytest.mark.parametrize(
    "kernel",
    [pytest.param(kernel, marks=pytest.mark.guest(f"fuzz-{kernel}")) for kernel in LAB_KERNELS],
)
def test_counts_of_random_programs_when_verified_at_every_mark(guests, tmp_path, kernel):
    # GIVEN the programs of some seeds, recorded in one guest
    outcome = guests(f"fuzz-{kernel}")
    # WHEN the replay is held against the kernel at each mark
    failure = outcome.failure
    if failure:
        failure = shorten(failure, lambda p: run(p, kernel, tmp_path / "short.mapcount"))
    # THEN nothing differs; else the seed and its shortest failing program are named
    assert failure is None, str(failure)
    # AND the programs did something: the snapshots hold more than a few pages
    assert outcome.marks >= FUZZ.count * 6
    assert outcome.checked > 1000 * FUZZ.count
    # AND nothing of it is lost
    assert outcome.lost == 0
