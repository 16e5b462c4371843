"""The C library, loaded: `ffi`, `lib`, and calls whose failures become exceptions.

cffi in ABI mode: no compiler is needed to install or import. Every call into `lib` releases the
GIL. The library stays loaded until the process ends, so that objects may be freed in any order,
also while the interpreter is shutting down.
"""

from __future__ import annotations

import importlib
import os
import pathlib
from typing import Any, List, Optional

from . import _declarations as c
from ._errors import Error, error_class

ffi: Any = importlib.import_module("cffi").FFI()
ffi.cdef(c.CDEF)
NULL: Any = ffi.NULL


def _library_path() -> str:
    """LIBSAMBA_LIBRARY, or the library that was installed with this package."""
    named = os.environ.get("LIBSAMBA_LIBRARY")
    if named:
        return named
    here = pathlib.Path(__file__).resolve().parent
    tried: List[pathlib.Path] = []
    for folder in (here.parent / ".libsamba.mesonpy.libs", here):
        for suffix in ("so", "dylib"):
            path = folder / f"libsamba.{suffix}"
            if path.exists():
                return str(path)
            tried.append(path)
    raise ImportError("the C library is not there: tried " + ", ".join(map(str, tried)))


lib: Any = ffi.dlopen(_library_path(), os.RTLD_NOW | getattr(os, "RTLD_NODELETE", 0))


def text(cdata: Any) -> str:
    """A zero-terminated string of the library's, or "" for NULL."""
    return "" if cdata == NULL else bytes(ffi.string(cdata)).decode("utf-8", "replace")


def take_error(holder: Any, family: Optional[type] = None) -> Error:
    """The exception for the error in `holder`, which is freed and emptied."""
    e = holder[0]
    try:
        offset = int(lib.samba_error_offset(e))
        status = int(lib.samba_error_status(e))
        return error_class(status, family)(
            text(lib.samba_error_message(e)),
            status=status,
            file=text(lib.samba_error_file(e)) or None,
            tensor=text(lib.samba_error_tensor(e)) or None,
            offset=None if offset == c.SAMBA_NO_OFFSET else offset,
        )
    finally:
        lib.samba_error_free(e)
        holder[0] = NULL


def call(function: Any, *arguments: Any, family: Optional[type] = None) -> None:
    """function(*arguments, &error); raises if it fails."""
    holder = ffi.new("samba_error **")
    if function(*arguments, holder):
        raise take_error(holder, family)


def options(struct: str, **fields: Any) -> Any:
    """A `struct *` with struct_size set; fields that are None stay zero, which is the default."""
    o = ffi.new(struct + " *")
    o.struct_size = ffi.sizeof(struct)
    for name, value in fields.items():
        if value is not None:
            setattr(o, name, value)
    return o


def switch(value: Optional[bool]) -> int:
    """None: the default; else SAMBA_YES or SAMBA_NO."""
    return 0 if value is None else c.SAMBA_YES if value else c.SAMBA_NO


def token_list(tokens: Any, n: int) -> List[int]:
    """n tokens from a `samba_token *`, which may be NULL if n is 0."""
    found: List[int] = ffi.unpack(tokens, n) if n else []
    return found


def token_array(tokens: Any) -> Any:
    """samba_token[]: from a sequence of ints, or from a buffer of int32 without a copy."""
    try:
        view = memoryview(tokens)
    except TypeError:
        return ffi.new("samba_token[]", tokens if isinstance(tokens, (list, tuple)) else list(tokens))
    if view.itemsize != 4 or view.format not in ("i", "l") or not view.c_contiguous:
        raise TypeError(f"tokens are a buffer of {view.format!r}; int32 in a row is needed")
    return ffi.from_buffer("samba_token[]", view)


def float_array(values: Any) -> Any:
    """float[]: from a sequence of numbers, or from a buffer of float32 without a copy."""
    try:
        view = memoryview(values)
    except TypeError:
        return ffi.new("float[]", list(values))
    if view.format != "f" or not view.c_contiguous:
        raise TypeError(f"a buffer of {view.format!r} in place of float32 in a row")
    return ffi.from_buffer("float[]", view)
