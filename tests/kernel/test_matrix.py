# SPDX-License-Identifier: GPL-2.0-or-later
"""The part of `mapcount lab matrix` that CI can afford, on every kernel of the lab."""

import json
import subprocess
import sys

import pytest

from tests.conftest import GUEST_SECONDS, ROOT
from vm import kernels

KERNELS = [kernel.name for kernel in kernels.LAB_KERNELS]
#: An emulated guest takes 20 s to boot and each recording 20 to 30 s, most of it BCC's compile:
#: all workloads on all kernels take over half an hour (`make matrix`), these two take six minutes.
#: They are the ones with written tables, an anonymous folio and a file's, so every layout of the
#: counters and both families of rmap functions are met; test_operations.py runs the others on
#: one kernel.
WORKLOADS = ("lifecycle", "shmem-thp")


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    """The finished command and what it wrote to matrix.json."""
    folder = tmp_path_factory.mktemp("matrix")
    run = subprocess.run(
        [sys.executable, ROOT / "mapcount.py", "lab", "matrix", "-o", folder]
        + ["--workload", *WORKLOADS],
        capture_output=True,
        text=True,
        timeout=GUEST_SECONDS * len(KERNELS),
    )
    return run, json.loads((folder / "matrix.json").read_text())


def test_matrix_when_run_on_every_kernel(matrix):
    # GIVEN the subset on all kernels THEN nothing differs, and the table has each combination
    run, data = matrix
    assert run.returncode == 0, run.stdout + run.stderr
    assert data["good"]
    assert [(cell["kernel"], cell["workload"]) for cell in data["cells"]] == [
        (kernel, workload) for kernel in KERNELS for workload in WORKLOADS
    ]
    assert len(run.stdout.splitlines()) >= 2 + len(data["cells"])


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_combination_when_it_is_in_the_table(matrix, kernel, workload):
    # GIVEN one combination
    _, data = matrix
    cell = next(c for c in data["cells"] if (c["kernel"], c["workload"]) == (kernel, workload))
    # THEN it is left out with a reason, or it was held against the kernel and is right
    if cell["outcome"] == "left out":
        assert cell["reason"]
        pytest.skip(f"{workload} on {kernel}: {cell['reason']}")
    assert cell["outcome"] == "checked", cell["reason"]
    assert (cell["differences"], cell["possible"], cell["lost"]) == (0, 0, 0), cell["reason"]
    assert cell["findings"] == 0, cell["reason"]
    assert cell["checked"] > 10000


def test_kernels_when_the_lab_says_which_it_booted(matrix):
    # GIVEN the names of the lab THEN the guests' own releases begin alike, and each has its BCC
    _, data = matrix
    for kernel in data["kernels"]:
        assert kernel["release"].startswith(kernel["name"].rstrip("x")), kernel
        assert kernel["packages"]["python3-bpfcc"]
