# SPDX-License-Identifier: GPL-2.0-or-later
"""Asks apt which suite has a kernel newer than testing's, for the lab's kernel `next`."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from vm import apt, arch, cache, procs, say

#: Stands for the one of SUITES that suite() chose when its root was built.
NEXT = "next"
SUITES = ("trixie-backports", "experimental")
#: The suite that `next` has to be ahead of.
TESTING = "forky"
KERNEL = f"linux-image-{arch.GUEST.DEBIAN}"


class NothingNewer(say.LabError):
    """There is no kernel newer than testing's now."""


def suite() -> str:
    """Which of SUITES has the newest kernel on the mirror now."""
    say.phase(f"asking apt for a kernel newer than that of {TESTING}")
    mirror = apt.mirror()
    # Lists of its own, because those of this machine's apt are of other suites.
    with tempfile.TemporaryDirectory(prefix="ahead-", dir=cache.root()) as folder:
        versions = _versions(Path(folder), [mirror.line(each) for each in (*SUITES, TESTING)])
    if not versions:
        raise say.LabError(f"the mirror has {KERNEL} in none of {', '.join(SUITES)} and {TESTING}")
    newest, version = versions[0]
    if newest == TESTING:
        raise NothingNewer(f"no kernel is newer than the {version} of {TESTING}: use --kernel 7.x")
    say.phase(f"the newest is {version} of {newest}")
    return newest


def _versions(folder: Path, sources: list[str]) -> list[tuple[str, str]]:
    """Suite and version of each KERNEL in SOURCES, in apt's order: the newest version first."""
    (folder / "lists/partial").mkdir(parents=True)
    (folder / "sources.list").write_text("\n".join([*sources, ""]))
    (folder / "status").touch()  # nothing is installed
    settings = [
        f"--option=Dir::Etc::sourcelist={folder}/sources.list",
        "--option=Dir::Etc::sourceparts=/dev/null",
        "--option=Dir::Etc::preferencesparts=/dev/null",
        f"--option=Dir::State={folder}",
        f"--option=Dir::State::status={folder}/status",
        f"--option=Dir::Cache={folder}",
        "--option=Acquire::Check-Valid-Until=false",  # as for the roots, in vm.chroot
    ]
    procs.run_logged(
        ["apt-get", *settings, "update"], cache.root() / "ahead.log", "asking the mirror"
    )
    command = ["apt-cache", *settings, "madison", KERNEL]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # linux-image-amd64 | 7.3.4-1~bpo13+1 | http://HOST/debian trixie-backports/main amd64 Packages
    rows = [[field.strip() for field in line.split("|")] for line in text.splitlines()]
    return [(place.split()[1].partition("/")[0], version) for _, version, place in rows]
