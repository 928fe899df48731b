# SPDX-License-Identifier: GPL-2.0-or-later
"""The PMD mappings of a folio on kernels that count mapped pages instead of PMD mappings.

"mm/rmap: support arbitrary folio mappings" (announced in April 2026) replaces _entire_mapcount
by _total_mapped_pages: a PTE mapping adds one page to it, a PMD mapping all pages of the folio.
_large_mapcount has one for either, so the two tell how many are of which kind.
"""

from __future__ import annotations

import numpy as np

from analysis.arrays import Bools, Ints


def pmd_mappings(total: Ints, large: Ints, order: Ints) -> tuple[Ints, Bools]:
    """The PMD mappings of large folios, and where both counters can be of the same instant."""
    more = np.maximum((np.int64(1) << order) - 1, 1)  # than a PTE mapping adds
    return (total - large) // more, (total - large) % more == 0
