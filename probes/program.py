# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiles BPF programs with BCC: the only module that imports bcc."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import re
from typing import Any, Dict, Iterator, List, Optional, Tuple

from probes.compiled import Map
from probes.errors import ProbeError

NO_BCC = "python3-bpfcc is missing: apt install python3-bpfcc, and use the system's python3"


def bcc_version() -> Optional[str]:
    """The version of the installed BCC, without importing it; None: not installed."""
    found = importlib.util.find_spec("bcc")
    if found is None or not found.submodule_search_locations:
        return None
    with open(os.path.join(found.submodule_search_locations[0], "version.py")) as file:
        version = re.search(r"__version__ = '([^']*)'", file.read())
    return version.group(1) if version else "unknown"


#: Else clang makes what debuggers, and BTF of the types, are made of: a quarter of the work.
_NO_DEBUG = "-g0"


def _compile(text: str, *flags: str) -> Any:
    """A bcc.BPF.  Raises ProbeError where there is no bcc or it cannot compile the text."""
    try:
        from bcc import BPF
    except ImportError:
        raise ProbeError(NO_BCC) from None
    try:
        # Old headers redefine what a newer clang defines; that says nothing of the probes.
        return BPF(text=text.encode(), cflags=["-Wno-macro-redefined", *flags])
    except Exception as error:  # bcc raises plain Exception
        raise ProbeError(
            f"BCC cannot compile the probes ({error}): are the headers of the running "
            "kernel installed (apt install linux-headers-$(uname -r))?"
        ) from None


def compiled(text: str, functions: List[str]) -> Tuple[Dict[str, bytes], Dict[int, Map], str]:
    """The instructions of the functions, the maps by the descriptor that stands for each in
    the instructions, and the licence.

    The descriptors are closed on return: they only serve as names.
    """
    bpf = _compile(text, _NO_DEBUG)
    try:
        from bcc.libbcc import lib

        for name, type_ in (
            ("bpf_table_name", ctypes.c_char_p),
            ("bpf_table_fd_id", ctypes.c_int),
            ("bpf_table_key_size_id", ctypes.c_size_t),
            ("bpf_table_leaf_size_id", ctypes.c_size_t),
        ):
            function = getattr(lib, name)
            function.restype = type_
            function.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        module = bpf.module
        maps = {
            lib.bpf_table_fd_id(module, number): Map(
                name=lib.bpf_table_name(module, number).decode(),
                type=lib.bpf_table_type_id(module, number),
                key_size=lib.bpf_table_key_size_id(module, number),
                value_size=lib.bpf_table_leaf_size_id(module, number),
                entries=lib.bpf_table_max_entries_id(module, number),
                flags=lib.bpf_table_flags_id(module, number),
            )
            for number in range(lib.bpf_num_tables(module))
        }
        code = {
            name: ctypes.string_at(
                lib.bpf_function_start(module, name.encode()),
                lib.bpf_function_size(module, name.encode()),
            )
            for name in functions
        }
        return code, maps, lib.bpf_module_license(module).decode()
    finally:
        bpf.cleanup()


@contextlib.contextmanager
def loaded(text: str) -> Iterator[int]:
    """The descriptor of a program of the one function ``types``, attached nowhere."""
    bpf = _compile(text)
    try:
        try:
            program = bpf.load_func(b"types", type(bpf).KPROBE)
        except Exception as error:  # bcc raises plain Exception
            raise ProbeError(f"the kernel refuses BPF programs ({error}): run as root") from None
        yield program.fd
    finally:
        bpf.cleanup()
