# SPDX-License-Identifier: GPL-2.0-or-later
"""The right to write, read in page tables, against what a program did with its own pages."""

import pytest

from tests.kernel.jobs import ARM64_KERNELS, LAB_KERNELS, of_kernels


@pytest.fixture(params=of_kernels("rights-{}", (*LAB_KERNELS, *ARM64_KERNELS)))
def told(request, guests):
    """The lines that rights_of_self.py printed in a guest."""
    return guests(request.param)


def test_rights_are_read_as_they_are(told):
    # GIVEN pages, small and huge, written, protected, and shared by a fork
    cases = [line for line in told if line.startswith(("ok", "WRONG"))]
    # THEN what is read of each is right
    assert [line for line in cases if line.startswith("WRONG")] == []
    assert len(cases) == 10, told
