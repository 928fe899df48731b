# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix as a table for a terminal, and as the page docs/support-matrix.md.

Two parts of the page are made here, each from the file that a `mapcount lab matrix` leaves:
python -m vm.matrix_text DIR/matrix.json docs/support-matrix.md PART (`make matrix` and
`make arm64` do both).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from probes.visible import visible, visible_lines
from vm import page_parts
from vm.matrix import CHECKED, LEFT_OUT, Booted, Cell, Matrix

COLUMNS = (
    "kernel", "workload", "events", "lost", "checked", "differences", "possible", "findings",
    "real", "seconds",
)  # fmt: skip

#: How a part of the page begins: its heading, and what its run was.
INTRODUCTIONS = {
    "matrix": (
        "Made on {made} by `make matrix`, which boots each kernel in a virtual machine, records "
        "every workload there, compares the replay with the kernel's own counters "
        "(`mapcount verify`), and audits the trace (`mapcount audit`). Findings marked `real` are "
        "known kernel bugs: [trophies.md](trophies.md).",
    ),
    "arm64": (
        "## arm64",
        "Made on {made} by `make arm64`, which does the same with Debian's arm64 kernels with "
        "pages of 4 KiB and (`-16k`) of 16 KiB, emulated on another machine.",
    ),
}


def read(path: Path) -> Matrix:
    """The matrix that `as_json` wrote to PATH."""
    data = json.loads(path.read_text())
    cells = [
        Cell(**{**cell, "notes": tuple(cell["notes"]), "missing": tuple(cell["missing"])})
        for cell in data["cells"]
    ]
    booted = [Booted(**kernel) for kernel in data["kernels"]]
    return Matrix(booted, cells, data.get("configs", False))


def table(matrix: Matrix) -> str:
    """One line for each combination, and one that sums up."""
    rows = [[*COLUMNS, ""]]
    for cell in matrix.cells:
        rows.append([*(figure(cell, column) for column in COLUMNS), _remark(cell)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = []
    for row in rows:
        words = [
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  ".join([*words, row[-1]]).rstrip())
    lines += [
        f"{cell.workload} on {cell.kernel}: {note}" for cell in matrix.cells for note in cell.notes
    ]
    return visible_lines([*lines, summary(matrix)])


def figure(cell: Cell, column: str) -> str:
    """The text of one place of a table."""
    value = getattr(cell, column)
    if column == "real":
        return ",".join(f"{row}:{number}" for row, number in value.items())
    return "" if value is None else str(value)


def _remark(cell: Cell) -> str:
    if cell.outcome == CHECKED:
        return cell.reason
    return f"{cell.outcome}: {cell.reason}" if cell.reason else cell.outcome


def summary(matrix: Matrix) -> str:
    """The totals in one line."""
    cells = matrix.cells
    checked = sum(cell.checked or 0 for cell in cells)
    differences = sum(cell.differences or 0 for cell in cells)
    possible = sum(cell.possible or 0 for cell in cells)
    findings = sum(cell.findings or 0 for cell in cells)
    certain = f" ({sum(cell.certain or 0 for cell in cells)} certain)" if findings else ""
    real = sum(sum(cell.real.values()) for cell in cells)
    events = sum(cell.events or 0 for cell in cells)
    lost = sum(cell.lost or 0 for cell in cells)
    left_out = sum(cell.outcome == LEFT_OUT for cell in cells)
    bad = sum(cell.outcome not in (CHECKED, LEFT_OUT) for cell in cells)
    return (
        f"{len(cells)} combinations, {left_out} left out, {bad} failed; {checked} values checked: "
        f"{differences} differences, {possible} possible; {events} events audited: "
        f"{findings} findings{certain}, {real} real ones of docs/trophies.md; {lost} events lost"
    )


def paragraphs(matrix: Matrix, made: str, part: str) -> list[str]:
    """A part of docs/support-matrix.md."""
    names = [kernel.name for kernel in matrix.kernels]
    workloads = list(dict.fromkeys(cell.workload for cell in matrix.cells))
    by_place = {(cell.workload, cell.kernel): cell for cell in matrix.cells}
    notes: list[str] = []
    rows = [
        [f"`{workload}`", *(place(by_place.get((workload, name)), notes) for name in names)]
        for workload in workloads
    ]
    first, *rest = (text.format(made=made) for text in INTRODUCTIONS[part])
    below = "##" if part == page_parts.PARTS[0] else "###"
    found = [
        f"{page_parts.begin(part, 'vm/matrix_text.py')}\n{first}",
        *rest,
        markdown(
            ["kernel", "Debian suite", "release booted", "kernel package", "BCC"],
            [_kernel_row(kernel) for kernel in matrix.kernels],
        ),
        f"{below} Values checked, and differences",
        "Each cell shows the number of values that were checked, and of differences.",
        markdown(["workload", *names], rows),
        summary(matrix) + ".",
    ]
    if notes:
        found.append("\n".join(f"{number}. {note}" for number, note in enumerate(notes, 1)))
    return [*found, f"{below} What no probe sees", unseen(matrix)]


def _kernel_row(kernel: Booted) -> list[str]:
    images = [v for name, v in kernel.packages.items() if name.startswith("linux-")]
    bcc = kernel.packages.get("python3-bpfcc", "?")
    return [
        kernel.name,
        kernel.suite,
        kernel.release or "did not boot",
        *(images[-1:] or ["?"]),
        bcc,
    ]


def place(cell: Cell | None, notes: list[str]) -> str:
    """The text of one place in the grid; explanations are added to NOTES."""
    if cell is None:
        return "not run"
    if cell.outcome == CHECKED:
        text = f"{cell.checked}: {cell.differences}" if cell.checked else f"{cell.events} events"
        if not cell.good:
            text = f"**{text}**"
    else:
        text = cell.outcome if cell.outcome == LEFT_OUT else f"**{cell.outcome}**"
    extra = [f"{cell.findings} findings, {cell.certain} certain"] if cell.findings else []
    extra += [f"real: {figure(cell, 'real')}"] if cell.real else []
    extra += [f"{cell.possible} possible differences"] if cell.possible else []
    extra += [f"{cell.lost} events lost"] if cell.lost else []
    extra += [cell.reason] if cell.reason else []
    extra += cell.notes
    if not extra:
        return text
    note = f"{cell.workload}: {'; '.join(extra)}"
    if note not in notes:
        notes.append(note)
    return f"{text} ({notes.index(note) + 1})"


def unseen(matrix: Matrix) -> str:
    lines = []
    for kernel in matrix.kernels:
        cells = [cell for cell in matrix.cells if cell.kernel == kernel.name]
        missing = dict.fromkeys(line for cell in cells for line in cell.missing)
        lines += [f"- {kernel.name}: {line}" for line in missing]
    return "\n".join(lines) or "Every probe that the recorder asks for exists on every kernel."


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of a page of docs."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        f"| {' | '.join(visible(cell).replace('|', '/') for cell in row)} |" for row in lines
    )


def main(argv: Sequence[str]) -> int:
    """Write the part ARGV[2] of the page ARGV[1] for the matrix in the file ARGV[0]."""
    results, output, part = argv
    made = made_on(Path(results))
    page_parts.put(Path(output), part, paragraphs(read(Path(results)), made, part))
    return 0


def made_on(results: Path) -> str:
    """The day of the run whose matrix is in the file RESULTS."""
    made: str = json.loads(results.read_text())["made"]
    return made.partition("T")[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
