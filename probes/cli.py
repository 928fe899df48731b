# SPDX-License-Identifier: GPL-2.0-or-later
"""What the command lines of all three programs share: options, messages, and how they end."""

from __future__ import annotations

import argparse
import errno
import io
import json
import math
import os
import shlex
import signal
import sys
import threading
import warnings
from contextlib import contextmanager, suppress
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    Mapping,
    NoReturn,
    Optional,
    Sequence,
)

from probes.errors import MapcountError
from probes.output import reason
from probes.visible import visible

#: Exit statuses, the same in all commands (README.md).
FAILED, USAGE = 1, 2
STATUSES = (
    "exit status: 0 success; 1 an error, a difference, or a finding under --check; 2 usage; "
    "3 the trace is incomplete and --strict was given; 130 interrupted; "
    "141 the output was closed by its reader"
)
#: No recording lasts longer than so many seconds (30 years).
LONGEST = 1e9
#: MiB of the largest ring: BPF's positions in a map are 32 bits wide.
LARGEST_RING = 2048
#: How much is told on stderr: errors alone (-q); warnings, notes and progress, too; details (-v);
#: tracebacks (-vv).
QUIET, NORMAL, VERBOSE, DEBUG = -1, 0, 1, 2

if TYPE_CHECKING:
    _SubParsers = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    _SubParsers = argparse._SubParsersAction

_level = NORMAL


# -- options -------------------------------------------------------------------------


class _Commands(_SubParsers):
    """Adds -v and -q before a command to those after it, which argparse would let win.

    What a command does not know is its error: the help to look at is that of the command.
    """

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option: Any = None
    ) -> None:
        """Parse the command's own arguments."""
        verbose, quiet = namespace.verbose, namespace.quiet
        super().__call__(parser, namespace, values, option)
        unknown = getattr(namespace, "_unrecognized_args", None)
        if unknown:
            self.choices[values[0]].error(f"unrecognized arguments: {' '.join(unknown)}")
        namespace.verbose += verbose
        namespace.quiet |= quiet


class Parser(argparse.ArgumentParser):
    """A parser with -v and -q, as each of its commands has them.

    It reports an error in one line, without the lines of usage.
    """

    def __init__(self, **what: Any) -> None:
        super().__init__(**what)
        self.register("action", "parsers", _Commands)
        self.add_argument(
            "-v",
            "--verbose",
            action="count",
            default=0,
            help="print details; -vv: also the traceback of an error",
        )
        self.add_argument("-q", "--quiet", action="store_true", help="print only errors")

    def _print_message(self, message: str, file: Any = None) -> None:
        """argparse would hide that its help could not be written."""
        _write(message)

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with the status of a usage error."""
        text = message[len("argument ") :] if message.startswith("argument ") else message
        tell("error", f"{text}; see `{self.prog} --help`")
        self.exit(USAGE)


def _parsed(parser: Parser, argv: Optional[Sequence[str]]) -> argparse.Namespace:
    """The options of a command line; help and usage errors end the program."""
    try:
        options = parser.parse_args(argv)
    except SystemExit as ended:
        sys.exit(_flushed(ended.code if isinstance(ended.code, int) else USAGE))
    _set_level(QUIET if options.quiet else min(options.verbose, DEBUG))
    return options


def fewer_losses(ring_bytes: int) -> str:
    """Advice after a ring was full; all rings have so many bytes together."""
    size = ring_bytes >> 20
    larger = min(4 * size, LARGEST_RING)
    ring = f"larger rings (--buffer {larger}) or " if 0 < size < larger else ""
    return f"record with {ring}fewer probes (--only GROUP[,GROUP])"


def skipped(missed: int) -> str:
    """The message that the kernel skipped probes so many times, why, and what to do."""
    return (
        f"the kernel skipped probes {missed} times, as it does while an interrupted or a preempted "
        "task is in one on the same CPU: later counts may differ; record with fewer probes (--only "
        "GROUP[,GROUP]) or fewer busy tasks on each CPU; `mapcount stats` shows which were skipped"
    )


def page_of(trace: str) -> str:
    """The command that makes a report of a trace just recorded, to be copied into a shell."""
    page = os.path.splitext(trace)[0] + ".html"
    return f"to see it: mapcount report {shlex.quote(trace)} -o {shlex.quote(page)} --open"


def seconds(text: str) -> float:
    """A time in seconds, for argparse."""
    value = _number(float, text)
    if not 0 < value <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: write seconds, above 0")
    return float(value)


def hours(text: str) -> float:
    """A time in hours, for argparse: its seconds."""
    value = _number(float, text) * 3600
    if not 0 < value <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: write hours, above 0")
    return float(value)


def whole(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: a whole number between two."""

    def number(text: str) -> int:
        value = _number(int, text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a number from {low} to {high}: write one"
            )
        return int(value)

    return number


def _number(kind: Callable[[str], Any], text: str) -> Any:
    try:
        return kind(text)
    except (ValueError, OverflowError):
        return math.nan  # is between no two numbers


# -- messages ------------------------------------------------------------------------


def tell(kind: str, text: object) -> None:
    """Print one line on stderr: ``error``, ``warning`` or ``note``, and what to do."""
    say(f"{kind}: {text}")


def detail(text: str) -> None:
    """Print a note on stderr under -v."""
    if is_verbose():
        tell("note", text)


def say(line: str) -> None:
    """Print one line on stderr, if it is open; under -q only errors."""
    if sys.stderr is None or (is_quiet() and not line.startswith("error:")):
        return
    with suppress(OSError):
        print(visible(line), file=sys.stderr, flush=True)


def is_quiet() -> bool:
    """Whether only errors are printed (-q)."""
    return _level == QUIET


def is_verbose() -> bool:
    """Whether details are printed (-v)."""
    return _level >= VERBOSE


def _set_level(level: int) -> None:
    global _level
    _level = level
    # Python's own warnings (a glyph that a font lacks) are for us, not for our users.
    if level == DEBUG:
        warnings.simplefilter("default")


def result(text: str, at_once: bool = False) -> None:
    """Print a result on stdout: lines, in which names have been made visible."""
    _write(text + "\n", at_once)


def json_result(value: Any) -> None:
    """Print a result of --json on stdout: plain values, numpy's among them."""
    _write(json.dumps(value, indent=1, allow_nan=False, default=lambda one: one.item()) + "\n")


def json_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print a list of objects of plain values, of any length, one at a time."""
    lead = "[\n "
    for row in rows:
        text = json.dumps(row, separators=(",\n  ", ": "), allow_nan=False)
        _write(f"{lead}{{\n  {text[1:-1]}\n }}")
        lead = ",\n "
    _write("[]\n" if lead.startswith("[") else "\n]\n")


class Unwritten(Exception):
    """Standard output cannot be written; any other OSError is about something else."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


def _write(text: str, at_once: bool = False) -> None:
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(text)
        if at_once:
            sys.stdout.flush()
    except OSError as error:
        raise Unwritten(error) from error


# -- how a program ends --------------------------------------------------------------


def main(
    parser: Callable[[], Parser],
    command: Callable[[argparse.Namespace], int],
    argv: Optional[Sequence[str]],
) -> int:
    """The main() of each program: parse ARGV, run the command.  Returns its exit status."""
    return run(lambda: command(_parsed(parser(), argv)))


def run(command: Callable[[], int]) -> int:
    """Run a command and report its errors.  Returns its exit status.

    An error is one line; with -vv it is raised, with its traceback.
    """
    _prepare_streams()
    if sys.stdout is None:
        tell("error", "standard output is closed: open it, or send it to /dev/null")
        return FAILED
    status = FAILED
    try:
        with _ending_cleanly(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            status = command()
    except _Ended as ended:
        status = 128 + ended.number
    except MapcountError as error:
        if _level == DEBUG:
            raise
        tell("error", error)
        status = error.exit_code
    except Unwritten as failed:
        return _unwritten(failed.error)
    except OSError as error:
        if _level == DEBUG:
            raise
        tell("error", f"{error.filename or 'a file'}: {reason(error)}")
    except ModuleNotFoundError as error:
        if _level == DEBUG:
            raise
        tell(
            "error",
            f"Python has no module {error.name}: run `make setup`, then .venv/bin/python, "
            "or install it with pip",
        )
    except Exception as error:
        if _level == DEBUG:
            raise
        tell(
            "error",
            f"a bug in mapcount ({type(error).__name__}: {error}): "
            "run again with -vv and report what it prints",
        )
    finally:
        _set_level(NORMAL)
    return _flushed(status)


def _prepare_streams() -> None:
    """Let every text be written, and no file be opened in the place of a stream that is closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flushed(status: int) -> int:
    """Write out what is left for stdout; where that fails, say so.  Returns the exit status."""
    if sys.stdout is None:
        return status
    try:
        sys.stdout.flush()
    except OSError as error:
        return _unwritten(error)
    return status


def _unwritten(error: OSError) -> int:
    """Say why stdout takes no more.  Returns the exit status."""
    # Python flushes once more at its end, and must not fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno == errno.EPIPE:  # who read it has seen enough
        return 128 + signal.SIGPIPE
    tell("error", f"cannot write to standard output: {reason(error)}")
    return FAILED


class _Ended(BaseException):
    """A signal asked the program to end: clean up on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _ending_cleanly() -> Iterator[None]:
    """A signal that ends the program leaves through all ``with`` blocks."""
    taken: Dict[int, Any] = {}

    def handler(number: int, _frame: object) -> None:
        for each in taken:  # a second Ctrl-C must not cut the clean-up short
            signal.signal(each, signal.SIG_IGN)
        raise _Ended(number)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's is to stay ignored
                taken[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for each, before in taken.items():
            signal.signal(each, before)
