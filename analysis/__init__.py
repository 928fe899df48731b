# SPDX-License-Identifier: GPL-2.0-or-later
"""The offline half of mapcount: a trace file as pandas frames and pictures.

    import analysis
    with analysis.open_trace("trace.mapcount") as trace:
        trace.df_lives()
        analysis.plot_timeline(trace, 0).savefig("life.png")

The heavy libraries are imported by the functions that need them, so that the commands
that print text start at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from analysis.errors import AnalysisError
from probes import __version__

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.dataset import Dataset
    from analysis.trace import Trace

__all__ = [
    "AnalysisError", "__version__", "follow", "open_dataset", "open_trace", "plot_lives",
    "plot_timeline", "plot_where",
]  # fmt: skip


def open_trace(path: str) -> Trace:
    """Read a trace file.

    Raises AnalysisError when the file is no trace.  A damaged or truncated one opens:
    what can be read of it is there, and ``warnings`` says what is not.
    """
    from analysis.trace import read_trace

    return read_trace(path)


def open_dataset(folder: str, scheduler: str | None = None) -> Dataset:
    """Open the folder that `mapcount export --to parquet` made of a trace.

    Its parts are audited and verified in parallel on Dask: in processes of this machine, or on
    the cluster whose ``scheduler`` has that address.  Raises AnalysisError when the folder is
    no such dataset.
    """
    from analysis.dataset import Dataset

    return Dataset(folder, scheduler)


def follow(path: str, poll: float = 0.2) -> Iterator[pd.DataFrame]:
    """Yield the new events of a trace that is still being written, block by block.

    The frames have the columns of ``Trace.df_events`` except ``life``, which needs the whole
    trace.  Row labels continue from frame to frame, in the order of arrival.  The iterator
    ends at the trailer, or when the recorder has given no sign of life for half a minute;
    ``poll`` is the time in seconds between two reads.
    """
    from analysis.following import follow_frames

    return follow_frames(path, poll)


def plot_timeline(
    trace: Trace, life: int | str, ax: Axes | None = None, window: tuple[int, int] | None = None
) -> Figure:
    """Draw one folio's life; ``life`` is a number or an id of ``df_lives``.

    Without ``ax`` a new figure with all panels is made; with it only the counters are
    drawn, into that axes.  ``window``: first and last time (ns, as ``ts``) to show;
    AnalysisError if the life does not exist in it.  Returns the figure either way; a new
    figure is not registered with pyplot, so it need not be closed.
    """
    from analysis.plot.timeline import plot_timeline as plot

    return plot(trace, life, ax, window)


def plot_lives(trace: Trace, lives: Iterable[int | str] | None = None) -> Figure:
    """Draw many lives in a new figure, a lane for each: when it was mapped, by PMD and by PTE.

    ``lives``: numbers or ids of ``df_lives``, at most 400; None: the 40 folios whose map counts
    changed most often.  Returns the figure, which is not registered with pyplot.
    """
    from analysis.plot.lives import plot_lives as plot

    return plot(trace, lives)


def plot_where(trace: Trace, life: int | str | None = None, pid: int | None = None) -> Figure:
    """Draw where folios are mapped over time in a new figure, a lane for each range of addresses.

    ``life``: only this folio, a number or an id of ``df_lives``; ``pid``: only the address spaces
    that this process has at any time.  At most 40 ranges are drawn, those with the most memory
    over time.  AnalysisError if the trace was recorded without --where.  Returns the figure, which
    is not registered with pyplot.
    """
    from analysis.plot.where import plot_where as plot

    return plot(trace, life, pid)
