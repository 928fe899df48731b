# SPDX-License-Identifier: GPL-2.0-or-later
"""The man page and bash's completion: made from the parsers, and whole."""

import shutil
import subprocess

import pytest

import mapcount
from docs import commands


def test_man_page_names_every_option_of_every_command():
    # GIVEN the parsers WHEN the man page is made THEN it has each command and each option
    page = commands.man_page()
    for name, _, parser in commands.commands():
        section = page.split(f'.SS "mapcount {name}"')[1].split(".SS ")[0]
        for action in parser._actions:
            for option in action.option_strings:
                assert commands.roff(option) in section, f"{name} {option}"
    assert {name.split()[0] for name, *_ in commands.commands()} == set(mapcount.COMMANDS)


@pytest.mark.skipif(not shutil.which("groff"), reason="apt-get install groff")
def test_man_page_when_it_is_formatted():
    # GIVEN the page WHEN groff formats it THEN it has no complaint, and text is as it was written
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-k"], input=commands.man_page(), capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert not done.stderr
    assert "mapcount record" in done.stdout and "docs/json.md" in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["aud"], {"audit"}),
        (["lab", "mat"], {"matrix"}),
        (["stats", "--js"], {"--json"}),
        (["lab", "run", "--kern"], {"--kernel"}),
        (["-v", "aud"], {"audit"}),
        (["-v", "-q", "lab", "run", "--kern"], {"--kernel"}),
        (["--ver"], {"--version"}),
    ],
)
def test_completion_when_a_word_is_begun(words, expected, tmp_path):
    # GIVEN bash with the completion WHEN a word is begun THEN it knows how it goes on
    script = tmp_path / "mapcount.bash"
    script.write_text(commands.completion())
    line = " ".join(["mapcount", *words])
    asked = (
        f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _mapcount; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == expected and not done.stderr
