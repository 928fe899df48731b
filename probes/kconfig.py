# SPDX-License-Identifier: GPL-2.0-or-later
"""Configuration options of the running kernel that its types do not show."""

from __future__ import annotations

import gzip
import os
import platform
from typing import List, Optional


def places() -> List[str]:
    """Files that hold a kernel's configuration, the kernel's own first."""
    release = platform.release()
    return [
        "/proc/config.gz",
        f"/boot/config-{release}",
        f"/lib/modules/{release}/config",
        f"/lib/modules/{release}/build/.config",
    ]


def built_with(option: str) -> Optional[bool]:
    """Whether the kernel has ``option`` (=y); None if no configuration is found."""
    for place in places():
        if not os.path.exists(place):
            continue
        opener = gzip.open if place.endswith(".gz") else open
        with opener(place, "rt") as lines:
            return any(line.strip() == f"{option}=y" for line in lines)
    return None
