# SPDX-License-Identifier: GPL-2.0-or-later
"""How long guests took to boot here, and so when the next one is considered to hang."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from vm import cache

#: Seconds that a guest may take of which no earlier boot is known.
FIRST_SECONDS = 600.0
#: A guest hangs when it takes so many times the longest boot of late, and this long at least:
#: a busy machine makes a boot several times as long, and a hang lasts for ever.
TIMES = 5.0
LEAST_SECONDS = 120.0
KEPT = 50
RECENT = 8


@dataclass(frozen=True)
class Boot:
    """One boot: its guest's key, the time until its command began, and whether it never did."""

    guest: str
    seconds: float
    hung: bool = False


def key(image: Path, kvm: bool, cpus: int) -> str:
    """Guests that boot alike have the same key."""
    return f"{image} {'kvm' if kvm else 'tcg'} {cpus}"


def limit(guest: str) -> float:
    """Seconds after which a boot of GUEST is considered to hang."""
    known = [boot.seconds for boot in history() if boot.guest == guest and not boot.hung]
    return max(LEAST_SECONDS, TIMES * max(known[-RECENT:])) if known else FIRST_SECONDS


def add(boot: Boot) -> None:
    """Add BOOT to the history; the oldest boots are dropped."""
    with cache.locked("boots"):
        boots = [*history(), boot][-KEPT:]
        new = _place().with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps([asdict(each) for each in boots]) + "\n")
        new.replace(_place())


def history() -> list[Boot]:
    """The boots in the history, oldest first; none if it cannot be read."""
    try:
        return [Boot(**each) for each in json.loads(_place().read_text())]
    except (OSError, ValueError, TypeError):
        return []


def _place() -> Path:
    return cache.root() / "boots.json"
