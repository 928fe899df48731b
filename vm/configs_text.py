# SPDX-License-Identifier: GPL-2.0-or-later
"""The part of docs/support-matrix.md about kernels of other configurations, made from their run.

python -m vm.configs_text DIR/matrix.json docs/support-matrix.md, after `mapcount lab matrix
--configs -o DIR` (`make configs` does both). Only what was run is in the table.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from vm import kernels, page_parts
from vm.matrix import Booted, Matrix
from vm.matrix_text import made_on, markdown, place, read, summary, unseen


def paragraphs(matrix: Matrix, made: str) -> list[str]:
    """The part of the page, with one row for each kernel that was run."""
    workloads = list(dict.fromkeys(cell.workload for cell in matrix.cells))
    by_place = {(cell.kernel, cell.workload): cell for cell in matrix.cells}
    notes: list[str] = []
    rows = [
        [
            *_kernel(kernel),
            *(place(by_place.get((kernel.name, workload)), notes) for workload in workloads),
        ]
        for kernel in matrix.kernels
    ]
    names = {kernel.name for kernel in matrix.kernels}
    others = [f"`{each.name}`" for each in kernels.CONFIG_KERNELS if each.name not in names]
    parts = [
        f"{page_parts.begin('configs', 'vm/configs_text.py')}\n## Other configurations",
        f"Made on {_days(matrix, made)} by `make configs`: kernels built from Debian's source with "
        "the configurations of vm/configs.py, and Debian's own -rt images. Each cell shows the "
        "number of values that were checked, and of differences; `doctor` is the exit status of "
        "`mapcount doctor` there.",
        markdown(
            ["kernel", "why", "source", "release booted", "doctor", *workloads],
            rows,
        ),
        summary(matrix) + ".",
    ]
    if notes:
        parts.append("\n".join(f"{number}. {note}" for number, note in enumerate(notes, 1)))
    parts += ["What no probe sees there:", unseen(matrix)]
    if others:
        parts.append(f"Not run: {', '.join(others)} (`lab matrix --configs --kernel NAME`).")
    return parts


def _days(matrix: Matrix, made: str) -> str:
    """When it was made: on one day, or by runs of several that keep what is there."""
    days = sorted({kernel.made or made for kernel in matrix.kernels}) or [made]
    return days[0] if len(days) == 1 else f"{', '.join(days[:-1])} and {days[-1]}"


def _kernel(kernel: Booted) -> list[str]:
    known = kernels.BY_NAME.get(kernel.name)
    source = [v for name, v in kernel.packages.items() if name.startswith("linux-")]
    return [
        kernel.name,
        known.why if known else "",
        *(source[-1:] or ["?"]),
        kernel.release or "did not boot",
        "?" if kernel.doctor is None else str(kernel.doctor),
    ]


def main(argv: Sequence[str]) -> int:
    """Write the part for the matrix in the file ARGV[0] into the page ARGV[1]."""
    results, output = map(Path, argv)
    page_parts.put(output, "configs", paragraphs(read(results), made_on(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
