# SPDX-License-Identifier: GPL-2.0-or-later
"""Modules and headers of a kernel that the lab did not fetch, in packages or beside the image.

Debian's kernels have 9p and overlayfs as modules, so their image alone does not boot. In newer
suites linux-image-* only depends on linux-binary-* and linux-modules-*, which have the kernel.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vm import arch, cache, guest
from vm.say import LabError

MODULES = ("lib/modules", "usr/lib/modules")
HEADERS = "usr/src"
COMPANIONS = ("linux-binary-", "linux-modules-")


@dataclass(frozen=True)
class Beside:
    """The folders of a kernel, besides its image, that a guest sees."""

    shares: tuple[guest.Share, ...] = ()  # its modules, and its packaged headers, at their places
    headers: Path | None = None  # the tree that it was built in


@dataclass(frozen=True)
class Package:
    """A .deb of a kernel."""

    path: Path
    name: str
    version: str
    needs: frozenset[str]  # names of packages


def beside(image: Path) -> Beside:
    """The modules and headers in the places where the kernel's packages, or make, put them."""
    name = arch.GUEST.release(image)
    # As virtme-ng looks for the modules that it boots with: in the nearest folder that has any.
    for root in image.parents:
        for place in MODULES:
            if (root / place).is_dir():
                modules = (root / place / (name or "")).resolve()
                if name is None or not modules.is_dir():
                    return Beside()
                return _installed(root.parent if root.name == "usr" else root, modules)
    return Beside()


def _installed(root: Path, modules: Path) -> Beside:
    """MODULES, which lie below ROOT, and the headers that they point to."""
    shares = [guest.Share(f"/lib/modules/{modules.name}", modules)]
    tree: Path | None = None
    for link in (modules / "build", modules / "source"):
        if not link.is_symlink():
            continue
        words = os.readlink(link)
        # Absolute links of packages are meant from their root, those of make from this machine's.
        packaged = Path(
            os.path.normpath(root / words.lstrip("/") if words[0] == "/" else modules / words)
        )
        if root / HEADERS in packaged.parents and packaged.is_dir():
            shares.append(guest.Share(f"/{packaged.relative_to(root)}", packaged))
        elif tree is None and (Path(words) / "include/generated/autoconf.h").is_file():
            tree = Path(words)
    return Beside(tuple(dict.fromkeys(shares)), tree)


def unpack(deb: Path) -> Path:
    """The image in DEB, a linux-image package, unpacked with the packages that it needs."""
    if shutil.which("dpkg-deb") is None:
        raise LabError("dpkg-deb is missing: apt-get install dpkg")
    packages = _together(deb)
    stats = [(each.path.name, each.path.stat()) for each in packages]
    facts = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:10]
    folder = cache.root() / "unpacked" / f"{packages[0].name}-{key}"
    with cache.locked(f"unpacked-{key}"):
        if not folder.is_dir():
            part = folder.with_name(f".{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            for each in packages:
                _dpkg_deb("--extract", str(each.path), str(part))
            part.rename(folder)
    return _image(deb, packages[0], folder)


def _image(deb: Path, package: Package, folder: Path) -> Path:
    """The image in FOLDER, where DEB and what was found of its needs are unpacked."""
    images = [*folder.glob("boot/vmlinuz-*"), *folder.glob("usr/lib/modules/*/vmlinuz")]
    if images and beside(images[0]).shares:
        return images[0]
    lacking = [name for name in sorted(package.needs) if name.startswith(COMPANIONS)]
    if not lacking:
        raise LabError(f"{deb} has no kernel to boot: give the linux-image-*.deb", 2)
    raise LabError(f"{deb} is not all of the kernel: put {' and '.join(lacking)} beside it", 2)


def _together(deb: Path) -> list[Package]:
    """DEB and what it needs of the packages of the same version in its folder."""
    first = _package(deb)
    headers = first.name.replace("linux-image-", "linux-headers-")
    others = {
        other.name: other
        for other in map(_package, deb.parent.glob("linux-*.deb"))
        if other.version == first.version
    }
    found = {first.name: first}
    wanted = [headers, *sorted(first.needs)]
    while wanted:
        other = others.get(wanted.pop())
        if other is not None and other.name not in found:
            found[other.name] = other
            wanted += sorted(other.needs)
    return list(found.values())


def _package(path: Path) -> Package:
    fields = dict(
        line.split(": ", 1)
        for line in _dpkg_deb("--field", str(path), "Package", "Version", "Depends").splitlines()
        if ": " in line
    )
    needs = fields.get("Depends", "").replace("|", ",").split(",")
    names = frozenset(need.split()[0].partition(":")[0] for need in needs if need.strip())
    return Package(path, fields["Package"], fields["Version"], names)


def _dpkg_deb(*words: str) -> str:
    done = subprocess.run(["dpkg-deb", *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(f"dpkg-deb {' '.join(words)}: {done.stderr.strip()}: is that a .deb?", 2)
    return done.stdout
