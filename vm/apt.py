# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds the Debian mirror that this machine itself uses, from apt's configuration."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from vm.say import LabError

# Third-party archives (a vendor's "cloud-sdk-bookworm") also sit in apt's configuration, and only
# these suite names belong to Debian itself.
SUITES = ("bullseye", "bookworm", "trixie", "forky", "sid")
NICKNAMES = ("oldoldstable", "oldstable", "stable", "testing", "unstable")
# These hold only what is newer than in another suite, which has to be there for all the rest.
BASES = {"trixie-backports": "trixie", "experimental": "sid"}


@dataclass(frozen=True)
class Source:
    """One archive of apt's configuration."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    trusted: bool = False


@dataclass(frozen=True)
class Mirror:
    """Where a suite and its security updates come from (security may be unknown)."""

    main: Source
    security: Source | None

    def lines(self, suite: str) -> list[str]:
        """The one-line sources that apt needs for SUITE."""
        if suite in BASES:
            return [*self.lines(BASES[suite]), self.line(suite)]
        found = [self.line(suite)]
        if self.security is not None and suite != "sid":  # sid needs no updates but its own
            found.append(_line(self.security, f"{suite}-security"))
        return found

    def line(self, suite: str) -> str:
        """The one-line source of SUITE alone."""
        return _line(self.main, suite)


def _line(source: Source, suite: str) -> str:
    options = "[trusted=yes] " if source.trusted else ""
    return f"deb {options}{source.uri} {suite} main"


def parse_one_line(text: str) -> list[Source]:
    """Sources of the classic format: `deb [options] URI SUITE COMPONENT…`."""
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)((?:\s+[^\s#]+)*)", line)
        if match:
            options, uri, suite, components = match.groups()
            trusted = "trusted=yes" in (options or "").split()
            found.append(Source(uri, (suite,), tuple(components.split()), trusted))
    return found


def parse_deb822(text: str) -> list[Source]:
    """Sources of the stanza format that Debian 12 writes (`*.sources`)."""
    found = []
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1] in (" ", "\t"):
                if name:
                    fields[name] += " " + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        trusted = fields.get("trusted", "no").lower() in ("yes", "true", "1")
        for uri in fields.get("uris", "").split():
            suites = tuple(fields.get("suites", "").split())
            found.append(Source(uri, suites, tuple(fields.get("components", "").split()), trusted))
    return found


def read_sources(etc: Path) -> list[Source]:
    """Every source in ETC (/etc/apt), files in apt's own order."""
    found: list[Source] = []
    parts = sorted((etc / "sources.list.d").glob("*")) if etc.is_dir() else []
    for path in [etc / "sources.list", *parts]:
        if path.suffix == ".list" and path.is_file():
            found += parse_one_line(path.read_text(errors="replace"))
        elif path.suffix == ".sources" and path.is_file():
            found += parse_deb822(path.read_text(errors="replace"))
    return [source for source in found if not source.uri.startswith("cdrom:")]


def choose(sources: list[Source]) -> Mirror:
    """The Debian archive among SOURCES.

    A vendor may also publish a suite called "bookworm" with a component "main"; the archive that
    carries "-updates" too is Debian's, so it is preferred.
    """
    usable = [source for source in sources if "main" in source.components]
    with_updates = {
        source.uri for source in usable if any(name.endswith("-updates") for name in source.suites)
    }
    main = [
        source for source in usable if any(name in SUITES + NICKNAMES for name in source.suites)
    ]
    main.sort(key=lambda source: source.uri not in with_updates)
    security = [
        source for source in usable if any(name.endswith("-security") for name in source.suites)
    ]
    if not main:
        raise LabError(
            "no Debian archive in /etc/apt: set MAPCOUNT_MIRROR to a mirror's address, "
            "for example http://HOST/debian"
        )
    return Mirror(main[0], security[0] if security else None)


def mirror(etc: Path = Path("/etc/apt")) -> Mirror:
    """The mirror to build from: $MAPCOUNT_MIRROR, or the machine's own."""
    uri = os.environ.get("MAPCOUNT_MIRROR", "").rstrip("/")
    if not uri:
        return choose(read_sources(etc))
    main = Source(uri, (), ("main",))
    # By convention the security archive lies beside the main one; a mirror laid out in another
    # way simply goes without.
    if uri.endswith("/debian"):
        return Mirror(main, Source(f"{uri}-security", (), ("main",)))
    return Mirror(main, None)
