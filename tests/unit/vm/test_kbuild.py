# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of vm.kbuild: edits that must match, trees brought back, builds that can be resumed."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vm import arch, chroot, guest, kbuild
from vm.kbuild import Edit
from vm.say import LabError

ROOT = Path(__file__).parents[3]
RMAP = """\
// not the kernel's text, only its style
static void helper(struct page *page);

static void helper(struct page *page)
{
	count(page);
}

void page_remove(struct page *page,
	struct vm_area_struct *vma)
{
	if (last) {
		count(page);
	}
}
"""
FIRST = Edit("mm/rmap.c", "page_remove", "count(page);", "count(page + 1);")
SECOND = Edit("mm/rmap.c", "helper", "count(page);", "count(page + 2);")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    (path / "mm").mkdir(parents=True)
    (path / "mm/rmap.c").write_text(RMAP)
    return path


def test_edit_changes_its_own_function_when_others_have_the_same_line() -> None:
    # GIVEN a line that two functions have WHEN it is changed in the second
    text = FIRST.apply(RMAP)
    # THEN the first, and everything else, is as it was
    assert text == RMAP.replace("\t\tcount(page)", "\t\tcount(page + 1)")


def test_edit_finds_the_definition_when_a_prototype_comes_first() -> None:
    # GIVEN a function with a prototype WHEN it is edited THEN its body is what changes
    assert SECOND.apply(RMAP).count("count(page + 2);") == 1


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            Edit("mm/rmap.c", "page_remove", "sum(page);", ""),
            "page_remove has 'sum.page.;' 0 times",
        ),
        (Edit("mm/rmap.c", "page_remove", "page", "folio"), "4 times, not once"),
        (Edit("mm/rmap.c", "page_move", "x", "y"), "no function page_move"),
    ],
)
def test_edit_is_refused_when_the_source_is_not_as_expected(edit: Edit, message: str) -> None:
    # GIVEN a source that has moved on WHEN it is edited THEN the error says what was not found
    with pytest.raises(LabError, match=message):
        edit.apply(RMAP)


def test_tree_has_the_wanted_edits_and_no_others_when_edited_again(tree: Path) -> None:
    # GIVEN a tree with two edits in one file, and one in a file that lies deeper
    path, deeper = tree / "mm/rmap.c", tree / "fs/proc/page.c"
    deeper.parent.mkdir(parents=True)
    deeper.write_text(RMAP)
    third = Edit("fs/proc/page.c", FIRST.function, FIRST.old, FIRST.new)
    kbuild.edit(tree, (FIRST, SECOND, third))
    assert path.read_text() == SECOND.apply(FIRST.apply(RMAP))
    assert deeper.read_text() == FIRST.apply(RMAP)
    # WHEN another build wants one of them, and the next none
    kbuild.edit(tree, (SECOND,))
    # THEN the others are gone, and in the end the source is the package's
    assert (path.read_text(), deeper.read_text()) == (SECOND.apply(RMAP), RMAP)
    kbuild.edit(tree, ())
    assert path.read_text() == RMAP


def test_tree_keeps_its_times_when_nothing_changes(tree: Path) -> None:
    # GIVEN a tree with an edit
    path = tree / "mm/rmap.c"
    kbuild.edit(tree, (FIRST,))
    os.utime(path, (1000, 1000))
    # WHEN the same is wanted again THEN make finds nothing to do
    kbuild.edit(tree, (FIRST,))
    assert path.stat().st_mtime == 1000


def test_missing_options_are_named_when_kconfig_dropped_them() -> None:
    # GIVEN a wish and what kconfig made of it
    wish = 'CONFIG_LOCALVERSION="-x"\nCONFIG_9P_FS=y\nCONFIG_SMP=y\n'
    made = 'CONFIG_LOCALVERSION="-x"\n# CONFIG_9P_FS is not set\nCONFIG_SMP=y\n'
    # WHEN both are compared THEN what is lost is named
    assert kbuild.missing_options(wish, made) == ["CONFIG_9P_FS=y"]


def test_missing_options_are_named_when_they_should_be_off() -> None:
    # GIVEN options that shall be off, of which kconfig has selected one
    wish = "CONFIG_SMP=n\nCONFIG_NUMA=n\nCONFIG_KSM=n\n"
    made = "# CONFIG_SMP is not set\nCONFIG_NUMA=y\n"
    # WHEN both are compared THEN only that one is named: off is off, said or not
    assert kbuild.missing_options(wish, made) == ["CONFIG_NUMA=n"]


def test_fragment_has_each_option_once_when_files_disagree() -> None:
    # GIVEN two files of which both name the version
    recipe = kbuild.Recipe("k", "bookworm", "linux-source-6.1", ("guest.config", "debug.config"))
    # WHEN they are put together THEN the later one wins
    lines = [line for line in recipe.fragment.splitlines() if "LOCALVERSION" in line]
    assert lines == ['CONFIG_LOCALVERSION="-mapcount-debug"']


@pytest.mark.parametrize(
    "other",
    [
        kbuild.Recipe("k", "bookworm", "linux-source-6.1", ("guest.config",), (SECOND,)),
        kbuild.Recipe("k", "bookworm", "linux-source-6.1", ("guest.config", "debug.config")),
        kbuild.Recipe("k", "bookworm", "linux-source-6.2", ("guest.config",)),
        kbuild.Recipe("k", "trixie", "linux-source-6.1", ("guest.config",)),
        kbuild.Recipe("j", "bookworm", "linux-source-6.1", ("guest.config",)),
        kbuild.Recipe(
            "k", "bookworm", "linux-source-6.1", ("guest.config",), options=("CONFIG_NUMA=n",)
        ),
        kbuild.Recipe(
            "k", "bookworm", "linux-source-6.1", ("guest.config",), targets=("defconfig",)
        ),
        kbuild.Recipe("k", "bookworm", "linux-source-6.1", ("guest.config",), virtme=True),
        kbuild.Recipe("k", "bookworm", "linux-source-6.1", ("guest.config",), machine=arch.ARM64),
    ],
)
def test_image_has_another_place_when_the_recipe_differs(other: kbuild.Recipe) -> None:
    # GIVEN two recipes that differ in one thing WHEN both are built THEN neither is the other's
    recipe = kbuild.Recipe("k", "bookworm", "linux-source-6.1", ("guest.config",))
    assert recipe.image != other.image
    assert recipe.image.parent.name.startswith("k-")


# -- a build with programs that only pretend -----------------------------------------------------

RECIPE = kbuild.Recipe("k", "bookworm", "linux-source-6.1", ("guest.config",), (FIRST,))
# Stands for `unshare … --root=DIR env … make … O=OUT … TARGET`.
FAKE_MAKE = """\
#!/bin/sh
for word; do
	case $word in
	--root=*) root=${word#*=} ;;
	O=*) out=$root${word#*=} ;;
	KCONFIG_ALLCONFIG=*) fragment=$root${word#*=} ;;
	esac
done
echo "$word" >>"$root/targets"
case $word in
allnoconfig) grep -v CONFIG_NO_SUCH "$fragment" >"$out/.config" ;;
defconfig) printf 'CONFIG_SMP=y\\nCONFIG_LOCALVERSION=""\\n' >"$out/.config" ;;
*.config) echo CONFIG_KASAN=y >>"$out/.config" ;;
olddefconfig) # of an option's lines the last one counts
	tac "$out/.config" | sort -u -t= -k1,1 >"$out/sorted" && mv "$out/sorted" "$out/.config" ;;
Image)
	mkdir -p "$out/arch/arm64/boot"
	echo "$@" >"$out/arch/arm64/boot/Image"
	;;
bzImage)
	[ ! -e "$root/broken" ] || { echo "rmap.c: error"; exit 2; }
	mkdir -p "$out/arch/x86/boot"
	cp "$root/build/source/mm/rmap.c" "$out/arch/x86/boot/bzImage"
	;;
esac
"""


@pytest.fixture
def root(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The build root, as mmdebstrap would have left it."""
    return build_root(RECIPE, tree, monkeypatch)


def build_root(recipe: kbuild.Recipe, tree: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tree.parent / "cache"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    path = chroot.path_of(recipe.suite, recipe.packages)
    (path / "mapcount").mkdir(parents=True)
    (path / "mapcount/versions.json").write_text('{"linux-source-6.1": "6.1.192-2"}')
    (path / "usr/src").mkdir(parents=True)
    archive = path / "usr/src/linux-source-6.1.tar.xz"
    command = ["tar", "-cJf", str(archive), "-C", str(tree), "--transform=s,^,linux/,", "mm"]
    subprocess.run(command, check=True)
    programs = tree.parent / "bin"
    programs.mkdir()
    (programs / "unshare").write_text(FAKE_MAKE)
    (programs / "unshare").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return path


def test_kernel_is_built_once_when_asked_for_twice(root: Path) -> None:
    # GIVEN a recipe with an edit WHEN its kernel is asked for
    image = kbuild.ensure(RECIPE)
    # THEN it was built from the edited source, and its configuration is kept beside it
    assert image.read_text() == FIRST.apply(RMAP)
    assert (image.parent / "config").read_text() == RECIPE.fragment
    # AND a second time nothing runs
    assert kbuild.ensure(RECIPE) == image
    assert (root / "targets").read_text().split() == ["allnoconfig", "bzImage"]


def test_build_goes_on_where_it_stopped_when_it_failed(root: Path) -> None:
    # GIVEN a build that fails in the middle
    (root / "broken").touch()
    with pytest.raises(LabError, match="rmap.c: error"):
        kbuild.ensure(RECIPE)
    # THEN nothing looks complete
    assert not RECIPE.image.exists()
    # AND the next try neither unpacks nor configures again
    (root / "broken").unlink()
    (root / "usr/src/linux-source-6.1.tar.xz").unlink()
    assert kbuild.ensure(RECIPE).exists()
    assert (root / "targets").read_text().split() == ["allnoconfig", "bzImage", "bzImage"]


def test_folder_is_shared_by_recipes_when_only_options_and_edits_differ(root: Path) -> None:
    # GIVEN a recipe, and one with other options and without edits
    other = kbuild.Recipe(
        *("o", RECIPE.suite, RECIPE.package, RECIPE.configs), options=("CONFIG_NUMA=n",)
    )
    # WHEN both are built THEN it is in one folder, where make finds what both need
    images = [kbuild.ensure(recipe) for recipe in (RECIPE, other)]
    assert [path.parent.name for path in root.glob("build/*/.config")] == ["guest"]
    # AND each image is with its own configuration
    for image, recipe in zip(images, (RECIPE, other), strict=True):
        assert (image.parent / "config").read_text() == recipe.fragment
    assert [image.read_text() for image in images] == [FIRST.apply(RMAP), RMAP]
    assert (root / "targets").read_text().split() == ["allnoconfig", "bzImage"] * 2


def test_configuration_is_made_again_when_that_of_another_recipe_was_not_finished(
    root: Path,
) -> None:
    # GIVEN a folder in which one kernel was built, and the configuration of another one failed
    other = kbuild.Recipe(
        *("o", RECIPE.suite, RECIPE.package, RECIPE.configs),
        options=("CONFIG_NUMA=n", "CONFIG_NO_SUCH=y"),
    )
    shutil.rmtree(kbuild.ensure(RECIPE).parent)
    with pytest.raises(LabError, match="does not take CONFIG_NO_SUCH=y"):
        kbuild.ensure(other)
    # WHEN the first is built again THEN it is not with what that one left
    assert (kbuild.ensure(RECIPE).parent / "config").read_text() == RECIPE.fragment


def test_what_a_killed_make_left_is_removed_when_the_next_begins(root: Path) -> None:
    # GIVEN a build root in which make was killed, and a program that had a folder
    (root / "tmp/folder/of").mkdir(parents=True)
    os.mkfifo(root / "tmp/GMfifo1")
    # WHEN a kernel is built there THEN make can use the name again
    kbuild.ensure(RECIPE)
    assert list((root / "tmp").iterdir()) == []


def test_half_a_file_is_made_again_when_make_was_killed(tmp_path: Path) -> None:
    # GIVEN a file whose command was written after it, as Kbuild does, and one that make was killed
    # at, with the command of an earlier build
    for name, made, command in (("whole.o", 10, 11), ("half.o", 20, 11), ("same.o", 11, 11)):
        for path, seconds in ((tmp_path / name, made), (tmp_path / f".{name}.cmd", command)):
            path.touch()
            os.utime(path, (seconds, seconds))
    (tmp_path / ".none.o.cmd").touch()
    # WHEN a build goes on there THEN only that one is missing to make
    kbuild.drop_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("[a-z]*.o")) == ["same.o", "whole.o"]


def test_error_says_who_can_build_when_not_root(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN an ordinary user WHEN a kernel is to be built THEN the error says what to do
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="run this once as root"):
        kbuild.ensure(RECIPE)
    assert not (root / "targets").exists()


def test_source_is_the_packages_when_the_next_recipe_has_no_edits(root: Path) -> None:
    # GIVEN a kernel that was built with an edit
    kbuild.ensure(RECIPE)
    # WHEN one without is built from the same source THEN it has the package's text
    plain = kbuild.Recipe("plain", RECIPE.suite, RECIPE.package, RECIPE.configs)
    assert kbuild.ensure(plain).read_text() == RMAP


def test_configuration_ends_with_the_recipes_options_when_it_begins_with_makes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a recipe on top of a configuration of the kernel's own, and of virtme-ng's
    vng = root.parent / "bin/vng"
    vng.parent.mkdir()
    vng.with_name("virtme-configkernel").write_text(
        "#!/bin/sh\necho '##: virtme'; echo CONFIG_SMP=m; echo CONFIG_TTY=y\n"
    )
    for program in (vng, vng.with_name("virtme-configkernel")):
        program.touch()
        program.chmod(0o755)
    monkeypatch.setattr(guest, "find_vng", lambda: str(vng))
    recipe = kbuild.Recipe(
        *("d", RECIPE.suite, RECIPE.package, ()),
        options=("CONFIG_SMP=n",),
        targets=("defconfig", "debug.config"),
        virtme=True,
    )
    # WHEN its kernel is asked for
    config = (kbuild.ensure(recipe).parent / "config").read_text().splitlines()
    # THEN each has added its own, and the recipe has the last word
    assert {"CONFIG_KASAN=y", "CONFIG_TTY=y", "CONFIG_SMP=n"} <= set(config)
    assert "CONFIG_SMP=y" not in config and "CONFIG_SMP=m" not in config
    assert (root / "targets").read_text().split() == [
        *("defconfig", "debug.config", "olddefconfig", "bzImage")
    ]


@pytest.mark.parametrize(
    ("host", "llvm", "package", "words"),
    [
        (
            arch.GUEST,
            False,
            {"gcc-aarch64-linux-gnu"},
            {"ARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-"},
        ),
        (arch.ARM64, False, set(), set()),
        (arch.ARM64, True, set(kbuild.LLVM), {"LLVM=1"}),
    ],
    ids=["cross", "native", "clang"],
)
def test_kernel_is_made_by_the_tools_of_its_machine(
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: arch.Arch,
    llvm: bool,
    package: set[str],
    words: set[str],
) -> None:
    # GIVEN a recipe for arm64 on a computer of another kind, and on one of its own
    monkeypatch.setattr(arch, "is_host", lambda machine: machine is host)
    recipe = kbuild.Recipe(
        *("a", "bookworm", "linux-source-6.1", ("guest.config", "aarch64.config")),
        llvm=llvm,
        machine=arch.ARM64,
    )
    # THEN the build root has a compiler for arm64 beside this computer's own, where that is
    # another, and clang where that is to build it
    assert set(recipe.packages) - {*kbuild.TOOLS, recipe.package} == package
    build_root(recipe, tree, monkeypatch)
    # WHEN its kernel is asked for THEN it is the image of arm64, and make was told of the compiler
    image = kbuild.ensure(recipe)
    assert image.name == "Image"
    told = image.read_text().split()
    assert {word for word in told if word.startswith(("ARCH=", "CROSS_COMPILE=", "LLVM="))} == words


def test_build_root_is_the_computers_own_when_the_kernel_is_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN no build root yet
    asked: list[arch.Arch] = []

    def ensure(suite: str, packages: tuple[str, ...], machine: arch.Arch) -> Path:
        asked.append(machine)
        raise LabError("enough")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(chroot, "ensure", ensure)
    for host in arch.EVERY:
        monkeypatch.setattr(arch, "is_host", lambda machine, host=host: machine is host)
        # WHEN a kernel is to be built THEN the root's programs run on this computer
        with pytest.raises(LabError, match="enough"):
            kbuild.ensure(RECIPE)
    assert asked == list(arch.EVERY)


def test_build_is_refused_when_the_computer_is_of_no_known_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a computer that is neither WHEN a kernel is to be built THEN the error says which are
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(arch.platform, "machine", lambda: "riscv64")
    with pytest.raises(LabError, match="riscv64: this is known of x86_64, aarch64"):
        kbuild.ensure(RECIPE)


def _running(command: list[str]) -> bool:
    """Whether a process with these words is there."""
    wanted = "\0".join([*command, ""]).encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes() == wanted:
                return True
    return False


@pytest.mark.skipif(os.geteuid() != 0, reason="a build root is entered as root")
def test_build_ends_when_what_runs_it_is_killed(tmp_path: Path) -> None:
    # GIVEN something that is built by a program that handles no signals
    command = ["sleep", f"{9000 + os.getpid()}.25"]
    call = f"kbuild.in_root(Path('/'), Path({str(tmp_path / 'log')!r}), 'waiting', *{command})"
    text = f"from pathlib import Path; from vm import kbuild; {call}"
    with subprocess.Popen([sys.executable, "-c", text], cwd=ROOT) as lab:
        _until(lambda: _running(command))
        # WHEN that is ended as `kill` does it THEN nothing of the build is left
        lab.terminate()
    _until(lambda: not _running(command))


def _until(done: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not done():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.1)
