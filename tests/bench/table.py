# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes docs/performance.md from the measurements in out/bench/, a section a file.

python -m tests.bench.table out/bench docs/performance.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

INTRO = """# Performance

Made by `make bench` from measurements; do not edit. Every figure compares in one run, on one
machine: read the ratios, the rest depends on where it was measured.
"""


def cell(value: Any) -> str:
    """A value as a cell of the table."""
    if value is None:
        return "–"
    if isinstance(value, dict):
        return ", ".join(f"{name} {cell(one)}" for name, one in value.items())
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value)


def section(table: dict[str, Any]) -> str:
    """One bench: its title, its rows, what the columns mean, and notes where it has any."""
    columns: dict[str, str] = table["columns"]
    lines = [f"## {table['title']}", "", " | ".join(columns), " | ".join("---" for _ in columns)]
    for row in table["rows"]:
        lines.append(" | ".join(cell(row.get(name)) for name in columns))
    body = [lines[:2], [f"| {line} |" for line in lines[2:]]]
    told = [f"- **{name}**: {meaning}" for name, meaning in columns.items()]
    notes = [f"\n{note}" for note in table.get("notes", [])]
    return "\n".join([*body[0], *body[1], "", *told, *notes]) + "\n"


def page(folder: Path) -> str:
    """The whole page."""
    tables = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    if not tables:
        raise SystemExit(f"error: {folder} holds no measurements: run `make bench`")
    return "\n".join([INTRO, *map(section, tables)])


def main() -> int:
    """Run from the command line."""
    folder, out = map(Path, sys.argv[1:])
    out.write_text(page(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
