# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the columns of data frames: nullable numbers, categories, texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.arrays import Bools


def integers(
    values: npt.NDArray[Any], valid: Bools, dtype: type = np.int32
) -> pd.arrays.IntegerArray:
    """Integers with NA where they are not valid."""
    return pd.arrays.IntegerArray(values.astype(dtype), ~valid)


def integers_or_na(values: Iterable[int | None]) -> pd.arrays.IntegerArray:
    """64-bit integers, NA where there is None."""
    given = list(values)
    there = np.array([value is not None for value in given], dtype=bool)
    return integers(np.array([value or 0 for value in given], dtype=np.int64), there, np.int64)


def flags(values: Bools, valid: Bools) -> pd.arrays.BooleanArray:
    """Booleans with NA where they are not valid."""
    return pd.arrays.BooleanArray(values, ~valid)


def category(codes: npt.NDArray[Any], names: Sequence[str]) -> Any:
    """Codes into a list of names; -1 is NA."""
    make: Any = pd.Categorical.from_codes  # the stubs do not allow arrays of codes
    return make(codes, categories=list(names))


def texts(values: Iterable[str]) -> Any:
    """Strings; an empty column has the same type as others, under every version of pandas."""
    listed = list(values)
    if not listed:
        return pd.Series([], dtype=str).array
    column = np.empty(len(listed), dtype=object)
    column[:] = listed
    return column
