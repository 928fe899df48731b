# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds kernels from Debian's linux-source packages, each in a root of the package's own suite."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vm import arch, cache, chroot, guest, procs, say

KCONFIG = Path(__file__).parent / "kconfig"
# What a kernel of these small configurations needs to build, beside the package with its source.
TOOLS = (
    *("gcc", "libc6-dev", "make", "flex", "bison", "bc", "libelf-dev", "dwarves"),
    *("cpio", "kmod", "python3-minimal", "xz-utils"),
)
# And what takes the place of gcc and of binutils where the kernel is built by clang.
LLVM = ("clang", "lld", "llvm")
# Below the suite's build root.
SOURCE = "build/source"
# Every option off that the files do not name.
ALLNO = ("allnoconfig",)
# The kernel's own banner shall not tell when and by whom, so that the same source is the same text.
BANNER = ("KBUILD_BUILD_VERSION=1", "KBUILD_BUILD_USER=mapcount", "KBUILD_BUILD_HOST=lab")


@dataclass(frozen=True)
class Edit:
    """One change of the source: inside FUNCTION of FILE the only OLD is replaced by NEW."""

    file: str
    function: str
    old: str
    new: str

    def apply(self, text: str) -> str:
        """The file's TEXT with this change; LabError if it does not apply to a newer source."""
        start, end = _span(text, self.function, self.file)
        body = text[start:end]
        if body.count(self.old) != 1:
            raise say.LabError(
                f"{self.file}: {self.function} has {self.old!r} {body.count(self.old)} times, not "
                "once: the package's source has changed, adapt the edit"
            )
        return text[:start] + body.replace(self.old, self.new) + text[end:]


@dataclass(frozen=True)
class Recipe:
    """A kernel to build."""

    name: str
    suite: str
    package: str
    configs: tuple[str, ...]  # files of KCONFIG, later ones win
    edits: tuple[Edit, ...] = ()
    options: tuple[str, ...] = ()  # lines like those of the files, and win over them
    targets: tuple[str, ...] = ALLNO  # make's, for the configuration to begin with
    virtme: bool = False  # with what `vng --kconfig` adds to a configuration
    llvm: bool = False  # built by clang and lld
    machine: arch.Arch = arch.GUEST

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages of the build root, which is of this machine's own kind."""
        cross = () if arch.is_host(self.machine) else (self.machine.COMPILER_PACKAGE,)
        return (*TOOLS, *cross, *(LLVM if self.llvm else ()), self.package)

    @property
    def fragment(self) -> str:
        """The configuration options, each once."""
        lines = [
            line for name in self.configs for line in (KCONFIG / name).read_text().splitlines()
        ]
        options = {
            line.partition("=")[0]: line
            for line in (*lines, *self.options)
            if line.startswith("CONFIG_")
        }
        return "".join(f"{line}\n" for line in options.values())

    @property
    def start(self) -> str:
        """The configuration to start from; None: an empty one."""
        plain = self.targets == ALLNO and not self.virtme
        return "" if plain else " ".join(self.targets) + " virtme" * self.virtme

    @property
    def folder(self) -> str:
        """The name of the folder to build in, which recipes that begin alike have in common.

        Their single options and edits differ: Kbuild makes the objects anew that depend on those.
        """
        compiler = ("llvm",) if self.llvm else ()
        return "-".join((*map(_stem, self.configs), *self.start.split(), *compiler))

    @property
    def image(self) -> Path:
        """The path of the built kernel; another recipe has another path."""
        root = chroot.path_of(self.suite, self.packages)
        recipe = f"{root.name} {self.package} {self.fragment} {self.edits}{self.start}"
        key = hashlib.sha256(recipe.encode()).hexdigest()[:10]
        return cache.root() / "kernels" / f"{self.name}-{key}" / self.machine.TARGET


def ensure(recipe: Recipe) -> Path:
    """The kernel image of RECIPE, built now unless the cache has it."""
    if not recipe.image.exists():
        # One source tree serves all recipes of a package, and edits change it.
        with cache.locked(f"kbuild-{recipe.package}"):
            if not recipe.image.exists():
                _build(recipe)
    return recipe.image


def _build(recipe: Recipe) -> None:
    """Build in one step after the other, each of which a killed build can be resumed at."""
    if os.geteuid() != 0:
        raise say.LabError(f"building the kernel {recipe.name} needs root: run this once as root")
    root = chroot.ensure(recipe.suite, recipe.packages, arch.host())
    folder = recipe.image.parent
    log = folder.with_name(f"{folder.name}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    tree = source(root, recipe.package, log)
    edit(tree, recipe.edits)
    out = root / "build" / recipe.folder
    _configure(root, recipe, out, log)
    drop_unfinished(out)
    # What a killed build left: files and folders of its tools, and the fifo by which make shares
    # its jobs. Where that name is taken, parts of the next build run one job at a time.
    for left in (root / "tmp").glob("*"):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()
    say.phase(f"building the kernel {recipe.name} (the first one takes some ten minutes)")
    target = recipe.machine.TARGET
    _make(root, recipe, out, log, f"building {recipe.name}", f"-j{os.cpu_count() or 1}", target)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    shutil.copy2(out / recipe.machine.BUILT_IMAGE, part)
    shutil.copy2(out / ".config", part / "config")
    part.rename(folder)


def _stem(name: str) -> str:
    return Path(name).stem


def source(root: Path, package: str, log: Path) -> Path:
    """The unpacked source of PACKAGE in the build root."""
    tree = root / SOURCE
    if not tree.is_dir():
        part = tree.with_name(f"{tree.name}.part")
        subprocess.run(["rm", "-rf", str(part)], check=True)
        part.mkdir(parents=True)
        say.phase(f"unpacking {package} {chroot.versions(root)[package]}")
        command = ["tar", "-xJf", str(root / f"usr/src/{package}.tar.xz"), "-C", str(part)]
        procs.run_logged([*command, "--strip-components=1"], log, f"unpacking {package}")
        part.rename(tree)
    return tree


def edit(tree: Path, edits: Iterable[Edit]) -> None:
    """Make TREE the package's source with EDITS and no others.

    The original text of a file is kept beside the tree before it is first changed, and a file
    that is already right is not written, as make compares times.
    """
    pristine = tree.with_name(f"{tree.name}.pristine")
    wanted = {
        str(kept.relative_to(pristine)): kept.read_text()
        for kept in pristine.rglob("*")
        if kept.is_file()
    }
    for change in edits:
        if change.file not in wanted:
            wanted[change.file] = (tree / change.file).read_text()
            kept = pristine / change.file
            kept.parent.mkdir(parents=True, exist_ok=True)
            # Whole or not at all, and not among those that are kept.
            part = tree.with_name(f"{tree.name}.part")
            part.write_text(wanted[change.file])
            part.rename(kept)
        wanted[change.file] = change.apply(wanted[change.file])
    for file, text in wanted.items():
        if (tree / file).read_text() != text:
            (tree / file).write_text(text)


def _span(text: str, function: str, file: str) -> tuple[int, int]:
    """Where FUNCTION's definition begins and ends in TEXT, in the kernel's style of writing."""
    pattern = rf"^\w[^;{{}}\n]*\b{function}\([^;{{}}]*\)\s*\n\{{\n"
    found = re.search(pattern, text, re.MULTILINE)
    end = text.find("\n}\n", found.end()) if found else -1
    if found is None or end < 0:
        raise say.LabError(f"{file} has no function {function}: adapt the edit to this source")
    return found.start(), end


def _configure(root: Path, recipe: Recipe, out: Path, log: Path) -> None:
    """Make OUT/.config, unless it was made from the same fragment."""
    fragment = out / "mapcount.config"
    if fragment.exists() and fragment.read_text() == recipe.fragment:
        return
    out.mkdir(parents=True, exist_ok=True)
    # From here on .config is no longer what that file says, however this ends.
    fragment.unlink(missing_ok=True)
    part = fragment.with_suffix(".part")
    part.write_text(recipe.fragment)
    # Only allnoconfig heeds it.
    wanted = f"KCONFIG_ALLCONFIG=/{part.relative_to(root)}"
    what = f"configuring {recipe.name}"
    for target in recipe.targets:
        _make(root, recipe, out, log, what, wanted, target)
    if recipe.start:
        with open(out / ".config", "a") as file:  # of an option's lines the last one counts
            virtme = _virtme_options(recipe.machine) if recipe.virtme else ""
            file.write(virtme + recipe.fragment)
        _make(root, recipe, out, log, what, "olddefconfig")
    lost = missing_options(recipe.fragment, (out / ".config").read_text())
    if lost:
        raise say.LabError(
            f"{recipe.package} does not take {', '.join(lost)}: a dependency is missing in "
            f"{KCONFIG}, or the option has another name now"
        )
    part.rename(fragment)


def drop_unfinished(out: Path) -> None:
    """Remove what make was writing in the folder OUT when it was killed.

    Kbuild writes the command of a file, and what it depends on, after the file. A file that is
    newer than its command may be cut off, and make would take it for up to date.
    """
    for command in out.rglob(".*.cmd"):
        made = command.with_name(command.name.removeprefix(".").removesuffix(".cmd"))
        with contextlib.suppress(FileNotFoundError):
            if made.stat().st_mtime_ns > command.stat().st_mtime_ns:
                made.unlink()


def _virtme_options(machine: arch.Arch) -> str:
    """What `vng --kconfig` adds to the defconfig of any kernel for MACHINE."""
    program = Path(guest.find_vng()).with_name("virtme-configkernel")
    command = [str(program), "--arch", machine.MACHINE, "--defconfig", "--dry-run"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def missing_options(fragment: str, config: str) -> list[str]:
    """The lines of FRAGMENT that CONFIG lacks: kconfig silently drops options that do not apply."""
    have = dict(line.split("=", 1) for line in config.splitlines() if line.startswith("CONFIG_"))
    wanted = (line.split("=", 1) for line in fragment.splitlines())
    return [f"{name}={value}" for name, value in wanted if have.get(name, "n") != value]


def _make(root: Path, recipe: Recipe, out: Path, log: Path, what: str, *words: str) -> None:
    """Run make for the folder OUT."""
    inside = f"/{out.relative_to(root)}"
    prefix = arch.tools_prefix(recipe.machine)
    cross = (f"ARCH={recipe.machine.KBUILD}", f"CROSS_COMPILE={prefix}") if prefix else ()
    compiler = ("LLVM=1",) if recipe.llvm else ()
    command = ("make", "-C", f"/{SOURCE}", f"O={inside}", *BANNER, *cross, *compiler, *words)
    in_root(root, log, what, *command)


def in_root(root: Path, log: Path, what: str, *command: str) -> None:
    """Run COMMAND in the build root, without this machine's environment."""
    # A process space of its own: when we end, however, so does everything that it has started.
    jail = ["setpriv", "--pdeathsig", "KILL"]
    jail += ["unshare", "--fork", "--pid", "--kill-child", "--mount-proc", f"--root={root}"]
    clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"]
    procs.run_logged([*jail, *clean, *command], log, what)
