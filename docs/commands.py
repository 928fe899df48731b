# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the man page and bash's completion of `mapcount` from the parsers of its programs.

python -m docs.commands build/      writes build/mapcount.1 and build/mapcount.bash
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import analysis.__main__
import mapcount
import probes.__main__
import vm.__main__
from probes import __version__, cli

NAME = "how the map counts of huge pages evolve, who changed them, and who raced with it"
#: The page begins with these; each command has its own section.
ABOUT = (
    "mapcount records, on a live kernel, every change of the map counts of huge pages, replays a"
    " recording against the kernel's own counters, and reports what does not add up."
)


def parsers(top: argparse.ArgumentParser) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """(name, one line, parser) of each command of a program."""
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            lines = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, parser in action.choices.items():
                yield name, lines[name], parser


def commands() -> list[tuple[str, str, argparse.ArgumentParser]]:
    """Every command, as it is written after `mapcount`, in the order of `mapcount --help`."""
    alone = [
        *parsers(probes.__main__.parser()),
        *parsers(analysis.__main__.build_parser()),
    ]
    order = list(mapcount.COMMANDS)
    alone.sort(key=lambda each: order.index(each[0]))
    lab = parsers(vm.__main__.parser())
    return alone + [(f"lab {name}", line, parser) for name, line, parser in lab]


# -- the man page --------------------------------------------------------------------


def roff(text: str) -> str:
    """A text in which nothing is taken for a request or an escape."""
    lines = text.replace("\\", "\\e").replace("-", "\\-").splitlines()
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in lines)


def _argument(action: argparse.Action, formatter: argparse.HelpFormatter) -> str:
    names = formatter._format_action_invocation(action)
    about = formatter._expand_help(action) if action.help else ""
    return f".TP\n.B {roff(names)}\n{roff(about)}\n"


def _section(name: str, line: str, parser: argparse.ArgumentParser) -> str:
    formatter = parser._get_formatter()
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    about = parser.description or f"{line[0].upper()}{line[1:]}."
    epilog = (parser.epilog or "").replace(cli.STATUSES, "").replace(vm.__main__.STATUSES, "")
    parts = [f'.SS "mapcount {name}"\n.I {roff(usage)}\n.PP\n{roff(about)}\n']
    parts += [_argument(action, formatter) for action in parser._actions]
    if epilog.strip():
        parts.append(f".PP\n.nf\n{roff(epilog.strip())}\n.fi\n")
    return "".join(parts)


def man_page() -> str:
    """The text of mapcount(1)."""
    return "".join(
        [
            f'.TH MAPCOUNT 1 "" "mapcount {__version__}"\n',
            f".SH NAME\nmapcount \\- {roff(NAME)}\n",
            ".SH SYNOPSIS\n.B mapcount\n.I COMMAND\n[ARG ...]\n",
            f".SH DESCRIPTION\n{roff(ABOUT)}\n",
            ".SH COMMANDS\n",
            *(_section(*each) for each in commands()),
            f".SH EXIT STATUS\n{roff(cli.STATUSES.removeprefix('exit status: '))}\n",
            f".PP\n{roff(vm.__main__.STATUSES.replace('exit status', 'Of mapcount lab'))}\n",
        ]
    )


# -- completion ----------------------------------------------------------------------


def _words(parser: argparse.ArgumentParser) -> str:
    return " ".join(option for action in parser._actions for option in action.option_strings)


def completion() -> str:
    """A script for bash: commands, their options, and files."""
    lab = [name.split()[1] for name, *_ in commands() if name.startswith("lab ")]
    first = " ".join([*mapcount.COMMANDS, "--help", "--version"])
    cases = "\n".join(f'\t"{name}") words="{_words(parser)}" ;;' for name, _, parser in commands())
    return f"""\
# bash completion for mapcount; made by `make man`.
_mapcount() {{
\tlocal current=${{COMP_WORDS[COMP_CWORD]}} at=1 command words=
\twhile [[ ${{COMP_WORDS[at]}} == -* ]] && ((at < COMP_CWORD)); do ((at++)); done
\tcommand=${{COMP_WORDS[at]}}
\tif ((COMP_CWORD == at)); then
\t\tmapfile -t COMPREPLY < <(compgen -W "{first}" -- "$current")
\t\treturn
\tfi
\tif [ "$command" = lab ]; then
\t\tif ((COMP_CWORD == at + 1)); then
\t\t\tmapfile -t COMPREPLY < <(compgen -W "{" ".join(lab)}" -- "$current")
\t\t\treturn
\t\tfi
\t\tcommand="lab ${{COMP_WORDS[at + 1]}}"
\tfi
\tcase $command in
{cases}
\tesac
\tif [[ $current == -* ]]; then
\t\tmapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
\telse
\t\tmapfile -t COMPREPLY < <(compgen -f -- "$current")
\tfi
}}
complete -o filenames -F _mapcount mapcount
"""


def main() -> None:
    """Write both files into the directory that is named."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mapcount.1").write_text(man_page(), encoding="utf-8")
    (folder / "mapcount.bash").write_text(completion(), encoding="utf-8")


if __name__ == "__main__":
    main()
