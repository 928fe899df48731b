# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the file or folder of a command's ``-o``: completely or not at all, replacing no others.

It is made in a new folder beside its place, with an unpredictable name, which nobody else may
enter.  So it meets no file of the user's and follows no symbolic link.  It is then renamed to its
place, and the folder is removed, however the command ends.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from types import TracebackType
from typing import Callable, Optional, Type

from probes.errors import MapcountError

#: Says why an existing folder may not be replaced; None: it may.
Owned = Callable[[str], Optional[str]]
#: What the system says when a file cannot grow.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
#: For the help of every command that has an output.
HELP_SYMLINK = "a symbolic link is refused"


class OutputError(MapcountError):
    """An output that cannot be made; the text says why and what to do."""


def refuse(path: str) -> Optional[str]:
    """The reason why an existing folder is not replaced by a file."""
    return f"{path} is a folder: give the name of a file"


def check(path: str, force: bool, owned: Owned = refuse) -> None:
    """Raise OutputError where PATH cannot be made, or holds what must not be replaced.

    FORCE: a file may be replaced, and a folder if OWNED gives no reason against it.
    """
    if not path:
        raise OutputError("the output has an empty name: give a name after -o")
    if os.path.basename(path) in ("", ".", ".."):
        raise OutputError(f"{path} does not name a file or folder: give a name after -o")
    folder = os.path.dirname(path) or "."
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        if not os.path.isdir(folder):
            raise OutputError(
                f"cannot write {path}: the folder {folder} does not exist: create it first"
            ) from None
        return
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be an output: {reason(error)}") from None
    if stat.S_ISLNK(there.st_mode):
        raise OutputError(f"{path} is a symbolic link: give its target")
    if stat.S_ISDIR(there.st_mode):
        problem = owned(path)
        if problem:
            raise OutputError(problem)
    elif not stat.S_ISREG(there.st_mode):
        raise OutputError(f"{path} is not a regular file: give the name of a file")
    if not force:
        raise OutputError(f"{path} exists: give another name, or -f/--force to overwrite it")


def reason(error: Exception) -> str:
    """Why a system call failed, and what to do."""
    if not isinstance(error, OSError):
        return f"{error}: give another name"
    if error.errno in FULL:
        advice = "free some space, or write elsewhere"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice = "check the permissions, or write elsewhere"
    else:
        advice = "check the name"
    return f"{error.strerror or error}: {advice}"


class Output:
    """An output that is being made: write to ``part``, a name that does not exist yet.

    As a context it renames the output to its place at the end, unless ``place`` was called before
    or an exception is raised; then the rest is removed.  ``private``: only the user may read it,
    because a trace contains kernel addresses.  A file that is replaced keeps its mode.  Raises
    OutputError.
    """

    def __init__(
        self, path: str, force: bool = False, private: bool = True, owned: Owned = refuse
    ) -> None:
        check(path, force, owned)
        self.path = path
        self._force, self._private, self._owned = force, private, owned
        folder = os.path.dirname(path) or "."
        try:
            self._folder = tempfile.mkdtemp(prefix=".mapcount-", dir=folder)
        except OSError as error:
            raise OutputError(f"cannot write into {folder}: {reason(error)}") from None
        # The name's ending tells some writers the format.
        self.part = os.path.join(self._folder, os.path.basename(path))
        self._placed = False

    def place(self) -> None:
        """Rename the output to its name; a file of that name is replaced, or stays on failure."""
        check(self.path, self._force, self._owned)
        self._set_modes()
        if os.path.isdir(self.part):
            self._place_folder()
        else:
            if not self._force:
                self._reserve()
            os.rename(self.part, self.path)
        self._placed = True
        self._remove()

    def _set_modes(self) -> None:
        kept = os.lstat(self.path).st_mode & 0o777 if os.path.lexists(self.path) else None
        if not os.path.isdir(self.part):
            if kept is not None or self._private:
                os.chmod(self.part, 0o600 if kept is None else kept)
        elif self._private:
            for folder, _, files in os.walk(self.part):
                os.chmod(folder, 0o700)
                for name in files:
                    os.chmod(os.path.join(folder, name), 0o600)

    def _reserve(self) -> None:
        """Take the name, or fail: a rename would replace what has come there since the check."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        os.close(os.open(self.path, flags, 0o600))

    def _place_folder(self) -> None:
        """A folder cannot be renamed over one that holds something: that one is moved aside."""
        aside = os.path.join(self._folder, "replaced.")
        moved = os.path.lexists(self.path)
        if moved:
            os.rename(self.path, aside)
        try:
            os.rename(self.part, self.path)
        except BaseException:
            if moved:
                os.rename(aside, self.path)
            raise

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        try:
            if kind is None and not self._placed:
                self.place()
        except OSError as problem:
            raise self._failed(problem) from problem
        finally:
            self._remove()
        if isinstance(error, OSError) and self._is_ours(error):
            raise self._failed(error) from error

    def _remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _is_ours(self, error: OSError) -> bool:
        """Whether it was this output that could not be written: a failed write has no name."""
        if error.filename is None:
            return error.errno in FULL
        return str(error.filename).startswith(self._folder)

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write {self.path}: {reason(error)}")


def write_text(path: str, text: str) -> None:
    """Replace a file by TEXT atomically: for results that a command knows to be its own."""
    output = Output(path, force=True, private=False)
    with output, open(output.part, "x", encoding="utf-8") as file:
        file.write(text)
