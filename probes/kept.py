# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiled programs: given by the user, kept from an earlier recording, or made now.

They are kept in the system's cache, in a file for each build of the kernel, of this recorder
and of BCC.  A file is taken only if nobody but root can have written it and its digest is right.
"""

from __future__ import annotations

import contextlib
import glob
import os
import stat
import tempfile
from dataclasses import dataclass
from typing import List, Optional

from probes.compiled import Compiled, Damaged, pack, unpack
from probes.digest import sources
from probes.errors import ProbeError
from probes.kernel import Memory, build_id
from probes.program import bcc_version
from probes.say import say

#: A directory that root names in the environment is trusted as its owner is: the lab shares
#: one between its guests, whose files belong to the lab's user.
VARIABLE = "MAPCOUNT_CACHE"
DIRECTORY = "/var/cache/mapcount"

GIVEN, KEPT, COMPILED = "given", "kept", "compiled"


@dataclass(frozen=True)
class Found:
    """The programs, their source (GIVEN, KEPT, COMPILED), and their file."""

    made: Compiled
    way: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.way} in {self.path}" if self.path else self.way


def directory() -> str:
    """Where compiled programs are kept."""
    return os.environ.get(VARIABLE) or DIRECTORY


def find(given: Optional[str], use_cache: bool) -> Optional[Found]:
    """The programs that need no compiler; None: there are none.

    Raises ProbeError if the file that was GIVEN does not fit.
    """
    if given:
        return Found(_given(given), GIVEN, given)
    if use_cache:
        for path in _candidates():
            try:
                return Found(_checked(_read_kept(path)), KEPT, path)
            except (Damaged, OSError) as error:
                say(f"warning: {path} is not used but replaced: {error}")
    return None


def find_or_make(given: Optional[str], use_cache: bool, kcore: Memory) -> Found:
    """The programs for the running kernel.  Raises ProbeError."""
    return find(given, use_cache) or make_and_keep(use_cache, kcore)


def make_and_keep(use_cache: bool, kcore: Memory, trampolines: bool = True) -> Found:
    """Compile, and keep what was made for the next time.  Raises ProbeError."""
    # What is needed for this takes a while to import, for nothing where programs are kept.
    from probes.make import make

    made = make(kcore, trampolines)
    # Where this boot could not tell how pages are counted, another may.
    if use_cache and made.build_id and made.layout.page_counts is not None:
        try:
            keep(made)
        except OSError as error:
            say(f"note: the compiled programs cannot be kept in {directory()}: {error.strerror}")
    return Found(made, COMPILED)


def keep(made: Compiled) -> str:
    """Put programs into the cache.  Returns the file's path."""
    folder = directory()
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path = os.path.join(folder, _name(made.build_id, made.sources, made.bcc))
    _write(pack(made), path)
    return path


def _write(content: bytes, path: str) -> None:
    """Write a file that appears whole, or not at all."""
    folder = os.path.dirname(os.path.abspath(path))
    # mkstemp() makes a file of mode 0600 that is nobody else's.
    fd, part = tempfile.mkstemp(prefix=".programs-", dir=folder)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.rename(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def _name(build: str, digest: str, bcc: str) -> str:
    return f"{build}-{digest[:16]}-bcc{bcc}.programs"


def _candidates() -> List[str]:
    """The file of this kernel, this recorder and the installed BCC; without BCC that of any."""
    build = build_id()
    if not build:
        return []
    bcc = bcc_version()
    if bcc is None:
        pattern = glob.escape(os.path.join(directory(), _name(build, sources(), "")))
        return sorted(glob.glob(pattern.replace("-bcc.programs", "-bcc*.programs")))
    path = os.path.join(directory(), _name(build, sources(), bcc))
    return [path] if os.path.lexists(path) else []


def _read_kept(path: str) -> bytes:
    """A kept file's content.  Raises Damaged where somebody else may have written it."""
    named = os.environ.get(VARIABLE)
    trusted = {0, os.stat(named).st_uid} if named else {0}
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_uid not in trusted:
            raise Damaged("it is not root's")
        if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise Damaged("others may write it")
        return file.read()


def _checked(content: bytes) -> Compiled:
    made = unpack(content)
    if made.build_id != build_id():
        raise Damaged(
            f"it was compiled for {made.release} with the build id {made.build_id or 'unknown'}, "
            f"not for the running kernel"
        )
    if made.sources != sources():
        raise Damaged("it was compiled by another version of mapcount")
    return made


def _given(path: str) -> Compiled:
    try:
        with open(path, "rb") as file:
            return _checked(file.read())
    except OSError as error:
        raise ProbeError(
            f"cannot read {path}: {error.strerror}; give a file that `mapcount compile` made"
        ) from None
    except Damaged as error:
        raise ProbeError(
            f"cannot use {path}: {error}; make it on this kernel with `mapcount compile -o FILE`"
        ) from None
