# SPDX-License-Identifier: GPL-2.0-or-later
"""Folders of the host that the guest's script mounts, in addition to those that virtme-ng mounts.

virtme-ng passes each share to its init in three words of the kernel's command line, and a kernel
panics with more than 32 such words (CONFIG_INIT_ENV_ARG_LIMIT): at most five shares are possible.
The shares here need none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vm import guest, job
from vm.say import LabError

MOUNT = "ro,version=9p2000.L,trans=virtio,access=any,msize=524288"


def attach(machine: guest.Machine, run_dir: Path, folders: Sequence[guest.Share]) -> guest.Machine:
    """MACHINE with FOLDERS; a script in RUN_DIR, which the guest sees, mounts them."""
    options = list(machine.qemu)
    lines = []
    for number, folder in enumerate(folders):
        for path in (folder.guest, str(folder.host)):
            if set(path) & set(",= \t\"'"):
                raise LabError(f"QEMU cannot share {path!r}: use a path without , = space or quote")
        tag = f"mapcount{number}"
        options += _export(tag, folder.host)
        lines.append(f"mkdir -p {folder.guest} && mount -t 9p -o {MOUNT} {tag} {folder.guest}\n")
    (run_dir / job.FOLDERS).write_text("".join(lines))
    return replace(machine, qemu=tuple(options))


def with_root(machine: guest.Machine) -> guest.Machine:
    """MACHINE with a second tag for the share of its root.

    virtme-ng's tag is /dev/root, and a kernel without block devices finds nothing below /dev.
    """
    tag = "mapcountroot"
    return replace(
        machine,
        qemu=(*machine.qemu, *_export(tag, machine.root)),
        boot=(*machine.boot, f"root={tag}"),
    )


def _export(tag: str, folder: Path) -> list[str]:
    """QEMU's options for a read-only 9p folder."""
    return [
        "-fsdev",
        f"local,id={tag},path={folder},security_model=none,multidevs=remap,readonly=on",
        "-device",
        f"virtio-9p-pci,fsdev={tag},mount_tag={tag}",
    ]
