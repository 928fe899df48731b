# SPDX-License-Identifier: GPL-2.0-or-later
"""What decides the compiled programs is part of their digest."""

from pathlib import Path

import probes.digest
from tests.unit.test_imports import ROOT, imports


def needed_by(path):
    """The files of probes/ that a module imports, at any depth."""
    found = {path}
    for name in imports(path):
        file = f"{name.replace('.', '/')}.py"
        if name.startswith("probes.") and file not in found and (ROOT / file).exists():
            found |= needed_by(file)
    return found


def test_digest_when_modules_are_added():
    # GIVEN what makes the programs THEN each module that it imports, and each file of the
    # program's text, is in the digest: no kept program outlives a change of them
    files = needed_by("probes/make.py") | {"probes/__init__.py"}
    files |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "probes/bpf").iterdir()}
    assert sorted(f"probes/{name}" for name in probes.digest.SOURCES) == sorted(files)


def test_digest_when_a_file_changes(monkeypatch, tmp_path):
    # GIVEN a copy of the recorder in which one letter of the program's text is another
    here = Path(probes.digest.__file__).parent
    for name in probes.digest.SOURCES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((here / name).read_bytes())
    sources = probes.digest.sources.__wrapped__  # it is reckoned once for a process
    before = sources()
    monkeypatch.setattr(probes.digest, "__file__", str(tmp_path / "digest.py"))
    assert sources() == before
    with open(tmp_path / "bpf/watch.h", "a") as file:
        file.write("\n")
    # THEN its digest is another
    assert sources() != before
