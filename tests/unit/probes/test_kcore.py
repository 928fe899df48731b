# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/kcore: memory by virtual and by physical address, and what the kernel tells of itself."""

import struct

import pytest

from probes.errors import ProbeError
from probes.kernel import Kcore

DIRECT, MODULES = 0xFFFF888000000000, 0xFFFFFFFFC0000000
NOWHERE = (1 << 64) - 1
TEXT = b"OSRELEASE=6.1.0\nNUMBER(pgtable_l5_enabled)=1\nNUMBER(TCR_EL1_T1SZ)=0x10\nSYMBOL(x)=ff\n"


@pytest.fixture
def kcore(tmp_path):
    """Two pages of memory from physical address 0x100000 on, one page of modules, a note."""
    at = 64 + 3 * 56
    note = struct.pack("<III", 11, len(TEXT), 0) + b"VMCOREINFO\0\0" + TEXT
    memory = bytes(range(256)) * 32
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF", 4, 62, 1, 0, 64, 0, 0, 64, 56, 3, 0, 0, 0)
    data = at + len(note)
    segments = [
        (4, 0, at, 0, 0, len(note), 0, 0),
        (1, 7, data, DIRECT + 0x100000, 0x100000, 8192, 8192, 4096),
        (1, 7, data + 8192, MODULES, NOWHERE, 4096, 4096, 4096),
    ]
    path = tmp_path / "kcore"
    path.write_bytes(
        head
        + b"".join(struct.pack("<IIQQQQQQ", *segment) for segment in segments)
        + note
        + memory
        + b"m" * 4096
    )
    found = Kcore(str(path))
    yield found
    found.close()


def test_memory_is_read_by_both_addresses(kcore):
    assert kcore.read(DIRECT + 0x101002, 4) == kcore.physical(0x101002, 4) == b"\x02\x03\x04\x05"
    assert kcore.read(MODULES, 2) == b"mm"


def test_memory_that_is_not_there_is_told_as_that(kcore):
    for address in (0, 0xFFFFC, 0x101FFF, NOWHERE):
        with pytest.raises(ProbeError, match="8 bytes at the physical address"):
            kcore.physical(address, 8)
    with pytest.raises(ProbeError, match="8 bytes at 0x0"):
        kcore.read(0, 8)


def test_numbers_that_the_kernel_tells_crash_dumps(kcore):
    assert kcore.told() == {"pgtable_l5_enabled": 1, "TCR_EL1_T1SZ": 16}
