# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls a function many times on Dask: in processes of this machine, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, TypeVar

from analysis.errors import AnalysisError

T = TypeVar("T")
#: Seconds to wait for a scheduler.
PATIENCE = 10


def on_dask(
    function: Callable[[int], T], numbers: Sequence[int], scheduler: str | None
) -> Iterator[T]:
    """The results of FUNCTION, called with each of NUMBERS, in their order.

    The work of a worker that is killed is rescheduled.  Raises AnalysisError if Dask is not
    installed, no scheduler answers at the address SCHEDULER, or workers die at each attempt.
    """
    if find_spec("distributed") is None:
        raise AnalysisError("this needs Dask, which is not installed: pip install distributed")
    from dask.distributed import Client, KilledWorker

    connect: Any = Client  # Dask's classes have no types
    try:
        if scheduler:
            client = connect(scheduler, timeout=PATIENCE)
        else:
            # A process for each CPU: Python's lock is held for much of the work.  Any free port
            # for Dask's page: its usual one may be another's, which Dask warns of.
            client = connect(processes=True, threads_per_worker=1, dashboard_address=":0")
    except (OSError, ValueError) as error:
        raise AnalysisError(
            f"no Dask scheduler answers at {scheduler} ({error}): start one with `dask scheduler`"
        ) from None
    with client:
        futures = client.map(function, numbers, pure=False)
        try:
            for future in futures:
                yield future.result()
        except KilledWorker as error:
            raise AnalysisError(f"Dask's workers died ({error}): give them more memory") from None
