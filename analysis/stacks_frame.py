# SPDX-License-Identifier: GPL-2.0-or-later
"""The recorded kernel stacks as the data frame of ``Trace.df_stacks``."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.columns import texts
from analysis.recording import Recording


def stacks_frame(recording: Recording) -> pd.DataFrame:
    """Build the frame; the columns are described at ``Trace.df_stacks``."""
    stacks = sorted(recording.stacks.items())
    return pd.DataFrame(
        {
            "depth": np.array([len(frames) for _, frames in stacks], dtype=np.int64),
            "text": texts("\n".join(name for name, _ in frames) for _, frames in stacks),
        },
        index=pd.Index([number for number, _ in stacks], dtype=np.int64, name="stack"),
    )
