# SPDX-License-Identifier: GPL-2.0-or-later
"""Workloads on the kernels of the lab, each verified at every mark: `mapcount lab matrix`.

At every landing all workloads run on one kernel, and the two with written tables on one with
folios; the others run in `make truth`.  Golden traces hold their layouts meanwhile.
"""

import pytest

from tests.kernel.jobs import (
    ARM64_KERNELS,
    ARM64_WORKLOADS,
    EVERY_WORKLOAD,
    KERNEL,
    LAB_KERNELS,
    OTHER_KERNEL,
    STORIES,
)
from vm import ahead

#: guest -> the workloads that it records, and whether it boots at every landing.
GUESTS = {
    f"matrix-{KERNEL}": (EVERY_WORKLOAD, True),
    f"stories-{OTHER_KERNEL}": (STORIES, True),
    **{f"matrix-{name}": (EVERY_WORKLOAD, False) for name in LAB_KERNELS if name != KERNEL},
    **{f"matrix-{name}": (ARM64_WORKLOADS, False) for name in ARM64_KERNELS},
}
#: What a kernel cannot do: folios of anonymous memory that are smaller than a PMD.
LEFT_OUT = {
    (kernel, workload) for kernel in ("5.10", "6.1") for workload in ("mthp", "reclaim-batch")
}


def of_guest(guest, *values):
    """Parameters of a test that needs the guest."""
    marks = [pytest.mark.guest(guest)] + ([] if GUESTS[guest][1] else [pytest.mark.truth])
    return pytest.param(guest, *values, marks=marks)


@pytest.mark.parametrize("guest", [of_guest(guest) for guest in GUESTS])
def test_matrix_when_run_on_a_kernel(guests, guest):
    # GIVEN workloads on a kernel THEN nothing differs, and the table has each of them
    recorded = guests(guest)
    assert recorded.run.returncode == 0, recorded.run.stdout + recorded.run.stderr
    assert recorded.data["good"]
    wanted, _ = GUESTS[guest]
    assert [cell["workload"] for cell in recorded.data["cells"]] == list(wanted)
    assert len(recorded.run.stdout.splitlines()) >= 2 + len(wanted)
    # AND the guest ran the kernel of its root, a release of what the lab names, and has its BCC
    (kernel,) = recorded.data["kernels"]
    assert f"linux-image-{kernel['release']}" in kernel["packages"], kernel
    if kernel["name"] != ahead.NEXT:  # whatever is newest
        version, _, flavour = kernel["name"].partition("-")
        assert kernel["release"].startswith(version.rstrip("x")), kernel
        assert kernel["release"].endswith(flavour), kernel
    assert kernel["packages"]["python3-bpfcc"]


@pytest.mark.parametrize(
    "guest, workload",
    [of_guest(guest, workload) for guest in GUESTS for workload in GUESTS[guest][0]],
)
def test_combination_when_it_is_in_the_table(guests, guest, workload):
    # GIVEN one combination
    cell, kernel = guests(guest).cell(workload), guest.partition("-")[2]
    # THEN it is left out with a reason where the kernel cannot do it
    if (kernel, workload) in LEFT_OUT:
        assert cell["outcome"] == "left out"
        assert cell["reason"]
        return
    # AND else it was held against the kernel and is right
    assert cell["outcome"] == "checked", cell["reason"]
    assert (cell["differences"], cell["findings"]) == (0, 0), cell["reason"]
    # AND nothing is lost but, beside the race, what an emulated guest has no time for
    if workload in STORIES:
        assert cell["checked"] > 10000
        assert (cell["possible"], cell["lost"]) == (0, 0), cell["reason"]
