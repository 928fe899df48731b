# SPDX-License-Identifier: GPL-2.0-or-later
"""Asks the kernel's BTF for field offsets, enumerators and argument positions.

The reading is libbpf's, which bcc brings along; this module only walks its answers.
"""

from __future__ import annotations

import ctypes
import struct
from typing import Any, Dict, List, Optional, Tuple

from probes.errors import ProbeError

_PTR, _STRUCT, _UNION, _ENUM, _FUNC, _VAR, _ENUM64 = 2, 4, 5, 6, 12, 14, 19
_MODIFIERS = {8, 9, 10, 11, 18}  # typedef, volatile, const, restrict, type tag
#: libbpf.so.1 is what Debian has from bookworm on, .so.0 before.
_LIBRARIES = ("libbpf.so.1", "libbpf.so.0")
#: Of struct bpf_prog_info: bytes up to the end of btf_id, and which u32 that is.
_PROG_INFO_SIZE, _PROG_INFO_BTF_ID = 132, 32


class _Type(ctypes.Structure):
    _fields_ = [
        ("name_off", ctypes.c_uint32),
        ("info", ctypes.c_uint32),
        ("size_or_type", ctypes.c_uint32),
    ]

    @property
    def vlen(self) -> int:
        return int(self.info) & 0xFFFF

    @property
    def kind(self) -> int:
        return int(self.info) >> 24 & 0x1F


class Btf:
    """Types of the running kernel, or those that a loaded BPF program (a descriptor) was
    compiled with.  Raises ProbeError where there are none.

    ``source``: where they come from; ``unknown_function``: why parameters() is None.
    """

    source = "btf"
    unknown_function = "BTF does not know its arguments"

    def __init__(self, program: Optional[int] = None) -> None:
        self._lib = self._load_library()
        # What it says on stderr, this module says in one line.
        self._lib.libbpf_set_print(None)
        self._btf = self._of_kernel() if program is None else self._of_program(program)
        self._lib.btf__type_by_id.restype = ctypes.c_void_p
        self._lib.btf__name_by_offset.restype = ctypes.c_char_p
        self._lib.btf__find_by_name_kind.restype = ctypes.c_int32
        self._parameters: Dict[str, Optional[List[str]]] = {}

    @staticmethod
    def _load_library() -> Any:
        for name in _LIBRARIES:
            try:
                return ctypes.CDLL(name)
            except OSError:
                continue
        raise ProbeError("libbpf is missing: install python3-bpfcc (it depends on libbpf)")

    def _of_kernel(self) -> ctypes.c_void_p:
        found = self._first("btf__load_vmlinux_btf", "libbpf_find_kernel_btf")()
        # Errors are small negative numbers in the pointer, or NULL.
        if not found or found > 2**64 - 4096:
            raise ProbeError(
                "the kernel has no BTF (/sys/kernel/btf/vmlinux): use a kernel built with "
                "CONFIG_DEBUG_INFO_BTF=y"
            )
        return ctypes.c_void_p(found)

    def _of_program(self, program: int) -> ctypes.c_void_p:
        info = (ctypes.c_uint32 * (_PROG_INFO_SIZE // 4))()
        size = ctypes.c_uint32(_PROG_INFO_SIZE)
        self._lib.bpf_obj_get_info_by_fd(program, info, ctypes.byref(size))
        number = info[_PROG_INFO_BTF_ID]
        found = ctypes.c_void_p()
        if number and hasattr(self._lib, "btf__load_from_kernel_by_id"):
            self._lib.btf__load_from_kernel_by_id.restype = ctypes.c_void_p
            found.value = self._lib.btf__load_from_kernel_by_id(number)
        elif number:
            self._lib.btf__get_from_id(number, ctypes.byref(found))
        if not found.value:
            raise ProbeError("BCC's program has no BTF: install a newer python3-bpfcc")
        return found

    def _first(self, *names: str) -> Any:
        """The first of these functions that this libbpf has; it returns a pointer."""
        for name in names:
            if hasattr(self._lib, name):
                function = getattr(self._lib, name)
                function.restype = ctypes.c_void_p
                return function
        raise ProbeError("this libbpf cannot load the kernel's BTF: install a newer libbpf")

    def _find(self, name: str, kind: int) -> int:
        found: int = self._lib.btf__find_by_name_kind(self._btf, name.encode(), kind)
        return found if found > 0 else 0

    def _type(self, id_: int) -> Tuple[_Type, int]:
        """The type and the address right behind it, where its members lie."""
        address = self._lib.btf__type_by_id(self._btf, ctypes.c_uint32(id_))
        if not address:
            raise ProbeError(f"the kernel's BTF has no type {id_}: it is damaged")
        return _Type.from_address(address), address + ctypes.sizeof(_Type)

    def _resolve(self, id_: int) -> int:
        type_, _ = self._type(id_)
        while type_.kind in _MODIFIERS:
            id_ = int(type_.size_or_type)
            type_, _ = self._type(id_)
        return id_

    def _name(self, offset: int) -> str:
        name: Optional[bytes] = self._lib.btf__name_by_offset(self._btf, ctypes.c_uint32(offset))
        return (name or b"").decode()

    def size(self, struct: str) -> Optional[int]:
        """Bytes of a struct, None if the kernel has none of that name."""
        id_ = self._find(struct, _STRUCT)
        return int(self._type(id_)[0].size_or_type) if id_ else None

    def offset(self, struct: str, field: str) -> Optional[int]:
        """Byte offset of a field (anonymous structs and unions looked through), or None."""
        id_ = self._find(struct, _STRUCT)
        return self._offset(id_, field) if id_ else None

    def _offset(self, id_: int, field: str) -> Optional[int]:
        type_, at = self._type(id_)
        for i in range(type_.vlen):
            name_off, member, bits = (ctypes.c_uint32 * 3).from_address(at + 12 * i)
            # With kind_flag set the top byte holds a bit-field's width.
            if type_.info >> 31:
                bits &= 0xFFFFFF
            name = self._name(name_off)
            if name == field:
                return bits // 8
            if not name:
                inner = self._offset(self._resolve(member), field)
                if inner is not None:
                    return bits // 8 + inner
        return None

    def enumerators(self, enum: str) -> Dict[str, int]:
        """Names and values of an enum; empty if the kernel has none of that name."""
        id_ = self._find(enum, _ENUM) or self._find(enum, _ENUM64)
        if not id_:
            return {}
        type_, at = self._type(id_)
        # A value of 64 bits is two words, the lower first.
        words = 3 if type_.kind == _ENUM64 else 2
        found = {}
        for i in range(type_.vlen):
            name_off, low, *high = (ctypes.c_uint32 * words).from_address(at + 4 * words * i)
            found[self._name(name_off)] = low | sum(high) << 32
        return found

    def enumerator(self, name: str) -> Optional[int]:
        """Value of an enumerator like FOLL_PIN, whose enum may have no name; None if there is none.

        Found by its bytes, for a walk over all types takes seconds: an enum has pairs of name and
        value, and beside it others of its prefix.
        """
        size = ctypes.c_uint32(0)
        data = self._first("btf__raw_data", "btf__get_raw_data")(self._btf, ctypes.byref(size))
        raw = ctypes.string_at(data, size.value)
        header, types, types_size, strings, strings_size = struct.unpack_from("<5I", raw, 4)
        texts = raw[header + strings : header + strings + strings_size]
        prefix = name[: name.index("_") + 1].encode()

        def kin(at: int) -> bool:
            (text,) = struct.unpack_from("<I", raw, at)
            return texts[text : text + len(prefix)] == prefix

        text = texts.find(b"\0%s\0" % name.encode()) + 1
        own = struct.pack("<I", text)
        first, end = header + types, header + types + types_size
        at = raw.find(own, first, end) if text else -1
        while at >= 0:
            if (at - first) % 4 == 0 and (kin(at - 8) or kin(at + 8)):
                return int(struct.unpack_from("<I", raw, at + 4)[0])
            at = raw.find(own, at + 1, end)
        return None

    def returns(self, function: str) -> str:
        """What a function returns: void, bool, pointer, int (any other number); "": not known."""
        id_ = self._find(function, _FUNC)
        if not id_:
            return ""
        id_ = int(self._type(int(self._type(id_)[0].size_or_type))[0].size_or_type)
        if id_ == 0:
            return "void"
        type_, _ = self._type(self._resolve(id_))
        if type_.kind == _PTR:
            return "pointer"
        return "bool" if self._name(type_.name_off) == "_Bool" else "int"

    def function_id(self, function: str) -> int:
        """The id of a function's type, 0 if BTF does not know it."""
        return self._find(function, _FUNC)

    def variable_id(self, variable: str) -> int:
        """The same of a variable; BTF knows those of which each CPU has its own."""
        return self._find(variable, _VAR)

    def parameters(self, function: str) -> Optional[List[str]]:
        """Names of a function's parameters in order, None if BTF does not know it."""
        if function not in self._parameters:
            self._parameters[function] = self._read_parameters(function)
        return self._parameters[function]

    def _read_parameters(self, function: str) -> Optional[List[str]]:
        id_ = self._find(function, _FUNC)
        if not id_:
            return None
        prototype, at = self._type(int(self._type(id_)[0].size_or_type))
        return [
            self._name((ctypes.c_uint32 * 2).from_address(at + 8 * i)[0])
            for i in range(prototype.vlen)
        ]
