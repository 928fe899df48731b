# SPDX-License-Identifier: GPL-2.0-or-later
"""An experiment for the questions of the 2015 thread: four forms of stable_page_flags()."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from probes.output import write_text
from probes.visible import visible_lines
from vm import audits, build, guest, job, kbuild, kernels, lab, say, scenarios
from vm.kbuild import Edit

SUITE, PACKAGE = "bookworm", "linux-source-6.1"
RESULTS = "thread.json"
WORKLOAD = scenarios.WORKLOADS / "kpageflags.c"
SAID = "said"
RACE_SECONDS = 60
# More than the host may have: who is held up in the middle of a question meets more.
RACE_CPUS = 4
RACE_RING = ("--buffer", "64")
COST_ROUNDS = 20
LIMIT = 400.0  # seconds for one guest
# One CPU whose clock counts instructions: the same figure each time, whatever else the host does.
COUNTING = ("-icount", "shift=0,sleep=on")


@dataclass(frozen=True)
class Form:
    """One way to write stable_page_flags(), as changes of the 6.1 source."""

    name: str
    idea: str
    edits: tuple[Edit, ...] = ()

    def recipe(self, checked: bool) -> kbuild.Recipe:
        """The kernel with this form; CHECKED: with checks that crash it (CONFIG_DEBUG_VM)."""
        configs = ("guest.config", "check.config") if checked else ("guest.config",)
        name = f"6.1-thread-{self.name}{'-checked' if checked else ''}"
        return kbuild.Recipe(name, SUITE, PACKAGE, configs, self.edits)


def _reader(old: str, new: str) -> Edit:
    return Edit("fs/proc/page.c", "stable_page_flags", old, new)


def _mapped(double_map: str, held: str = "") -> Edit:
    """How 2015 asked whether a page is mapped; DOUBLE_MAP: how its head was asked for the bit."""
    return _reader(
        "page_mapped(page)",
        f"{held}({{\n"
        "\t\tint mapped = atomic_read(&page->_mapcount) + 1;\n"
        "\t\tif (PageCompound(page)) {\n"
        "\t\t\tstruct page *head = compound_head(page);\n"
        "\t\t\tmapped += atomic_read(compound_mapcount_ptr(head)) + 1;\n"
        f"\t\t\t{double_map}\n"
        "\t\t\t\tmapped--;\n"
        "\t\t}\n"
        "\t\tmapped > 0; })",
    )


# PageDoubleMap() itself insisted on a head page in 2015, with CONFIG_DEBUG_VM alone. On 6.1 it does
# so only with CONFIG_DEBUG_VM_PGFLAGS, which asks much else of this function's pages, too.
_STRICT = "VM_BUG_ON_PAGE(!PageHead(head), head);\n\t\t\tif (PageDoubleMap(head))"
FORMS = (
    Form("shipped", "as in 6.1: page_mapped(), which asks no strict question"),
    Form(
        "strict",
        "as in the report: PageDoubleMap(), which insists on a head page",
        (_mapped(_STRICT),),
    ),
    Form(
        "head-first",
        "Kirill's helper: is it a head page now, and only then the bit",
        (_mapped("if (PageHead(head) && test_bit(PG_double_map, &head[1].flags))"),),
    ),
    Form(
        "reference",
        "the strict question, but only of a folio that is held: a free one is not mapped",
        (
            _reader("u64 u;", "u64 u;\n\tstruct page *held;"),
            _reader(
                "k = page->flags;",
                "held = compound_head(page);\n"
                "\tif (!get_page_unless_zero(held)) {\n"
                "\t\theld = NULL;\n"
                "\t} else if (compound_head(page) != held) {\n"
                "\t\tput_page(held);\n"
                "\t\theld = NULL;\n"
                "\t}\n"
                "\tk = page->flags;",
            ),
            _mapped(_STRICT, "held && "),
            _reader("return u;", "if (held)\n\t\tput_page(held);\n\treturn u;"),
        ),
    ),
)


@dataclass(frozen=True)
class Answer:
    """The measurements of one form."""

    form: str
    idea: str
    outcome: str = ""  # of the guest in which reader and mapper raced
    words: str = ""  # the kernel's last, if it died
    answers: int | None = None  # words that the reader got in its time
    impossible: int | None = None  # of these, how many no page can have at any time
    races: int | None = None  # that the audit is certain of
    huge: float | None = None  # instructions for one page of a huge page
    every: float | None = None  # and for any page of memory


def run(names: Sequence[str], folder: Path) -> list[Answer]:
    """Measure the forms NAMES (none: all); traces and RESULTS go to FOLDER."""
    folder = folder.resolve()
    answers = []
    for form in FORMS:
        if names and form.name not in names:
            continue
        answers.append(_cost(form, _race(form, folder)))
        write_text(str(folder / RESULTS), json.dumps([asdict(a) for a in answers], indent=1) + "\n")
    return answers


def _plan(name: str, *args: str) -> lab.Plan:
    program = build.workload(WORKLOAD)
    # Into a file of the run's folder: what it says is for the table, not for the terminal.
    command = ["sh", "-c", f"{job.OUT}/{program.name} {' '.join(args)} >{SAID}"]
    return lab.Plan(name, command, files=[program], policy="madvise")


def _options(form: Form, checked: bool) -> lab.Options:
    recipe = form.recipe(checked)
    kernel = kernels.Kernel(recipe.name, SUITE, recipe=recipe)
    return lab.Options(kernel, limit=LIMIT)


def _race(form: Form, folder: Path) -> Answer:
    """The reader beside the mapper, on the kernel that checks, under the recorder."""
    trace = folder / f"{form.name}.mapcount"
    plan = _plan(f"thread-{form.name}", "race", str(RACE_SECONDS))
    options = replace(_options(form, True), cpus=RACE_CPUS, record=RACE_RING)
    result = lab.run(plan, options, trace, force=True)
    answer = Answer(form.name, form.idea, result.outcome.value)
    if result.outcome is guest.Outcome.LOST:
        answer = replace(answer, words=guest.last_words(result.run_dir))
    answer = replace(answer, **_said(result))
    if trace.is_file():
        races = [
            finding for finding in audits.findings(trace) if finding["severity"] == audits.RACE
        ]
        certain = [finding for finding in races if finding["certainty"] == "certain"]
        answer = replace(answer, races=len(certain))
    return answer


def _cost(form: Form, answer: Answer) -> Answer:
    """The reader alone, on the kernel as people run it, in a guest that counts instructions."""
    options = replace(_options(form, False), cpus=1, qemu=COUNTING)
    result = lab.run(_plan(f"cost-{form.name}", "cost", str(COST_ROUNDS)), options, None)
    said = _said(result)
    if not said:
        say.warning(f"the cost of {form.name} is not known: see {result.run_dir}")
    return replace(answer, **said)


def _said(result: guest.Result) -> dict[str, Any]:
    """The last result of the program, which its kernel may have let finish or not."""
    whole = [line for line in guest.read_lines(result.run_dir / SAID) if line.endswith("}")]
    return dict(json.loads(whole[-1])) if whole else {}


def table(answers: Sequence[Answer]) -> str:
    """The measurements as a table for a terminal."""
    header = (
        *("form", "kernel", "answers", "impossible", "certain races"),
        *("instructions/page of a huge page", "of any page"),
    )
    rows = [header, *map(_row, answers)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines += ["", *(f"{answer.form}: {answer.idea}" for answer in answers)]
    lines += [f"{answer.form} died of: {answer.words}" for answer in answers if answer.words]
    return visible_lines(lines)


def _row(answer: Answer) -> tuple[str, ...]:
    fate = "died" if answer.words else answer.outcome
    figures = (answer.answers, answer.impossible, answer.races, answer.huge, answer.every)
    return (answer.form, fate, *("?" if value is None else str(value) for value in figures))
