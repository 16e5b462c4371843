"""Snapshots: immutable images of sessions."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Tuple, Union

from . import _declarations as c
from ._context import Context, choice, default_context
from ._errors import SnapshotError
from ._ffi import call, ffi, lib, options, switch, text, token_list
from ._handle import Handle

if TYPE_CHECKING:
    from ._model import Model

Path = Union[str, "os.PathLike[str]"]

CODECS: Dict[str, int] = {"raw": c.SAMBA_CODEC_RAW, "zstd": c.SAMBA_CODEC_ZSTD}
MODES: Dict[str, int] = {
    "full": c.SAMBA_SNAPSHOT_FULL,
    "header": c.SAMBA_SNAPSHOT_HEADER,
    "verify": c.SAMBA_SNAPSHOT_VERIFY,
}


class SnapshotInfo(NamedTuple):
    """What is known of a snapshot, without its model."""

    position: int
    first_position: int
    n_tokens: int
    has_logits: bool  #: the next token can be drawn without a pass
    n_vocab: int
    kv_dtype: str
    fingerprint: bytes  #: of the model
    model_name: str
    metadata: bytes
    raw_bytes: int  #: of all that it holds, decoded
    file_bytes: int  #: of the file that it was read from; 0 for a session's
    format_version: int
    lossy: bool  #: keys and values are not bit for bit what they were
    has_mac: bool


class SnapshotSection(NamedTuple):
    """One part of a snapshot."""

    name: str  #: "tokens", "logits", "kv", "ssm", ...; lib/state/FORMAT.md tells what they hold
    sublayer: Optional[int]
    type: str  #: of the elements: "f16", "i32", ...
    shape: Tuple[int, ...]
    raw_bytes: int
    stored_bytes: int  #: in the file that it was read from; 0 for a session's


def _key(key: Optional[bytes]) -> Tuple[Any, Optional[int]]:
    return (None, None) if key is None else (ffi.from_buffer(key), len(key))


class Snapshot(Handle):
    """Tokens, position, all state, last logits and bytes of the caller's own, of one moment.

    Made by `Session.snapshot`, or read from a file or bytes; used by `Session.restore` and
    `Model.session(snapshot)`, by any number of threads, while its session goes on elsewhere. In
    memory it shares pages and slabs with its session. Pickles as its bytes. Files are the same in C,
    Python and Rust.
    """

    _shared = True

    def __init__(self, pointer: Any, model: Optional["Model"] = None) -> None:
        super().__init__(pointer, lib.samba_snapshot_release)
        self._model = model

    @classmethod
    def _read(
        cls,
        function: Any,
        *source: Any,
        context: Optional[Context],
        mode: Optional[str],
        max_bytes: Optional[int],
        mac_key: Optional[bytes],
    ) -> "Snapshot":
        key, size = _key(mac_key)
        o = options(
            "samba_snapshot_read_options",
            mode=choice("mode", mode, MODES),
            max_bytes=max_bytes,
            mac_key=key,
            mac_key_size=size,
        )
        made = ffi.new("samba_snapshot **")
        where = (context or default_context())._open()
        call(function, where, *source, o, made, family=SnapshotError)
        return cls(made[0])

    @classmethod
    def from_bytes(
        cls,
        data: Union[bytes, bytearray, memoryview],
        *,
        context: Optional[Context] = None,
        mode: Optional[str] = None,
        max_bytes: Optional[int] = None,
        mac_key: Optional[bytes] = None,
    ) -> "Snapshot":
        """Reads what `to_bytes` made; no model is needed until it is restored.

        Args:
            mode: "full" (default); "header": tokens, metadata and figures only; "verify": all is
                read and checked, the state is not kept.
            max_bytes: LimitError if what is decoded is more; default 1 GiB.
            mac_key: the key that it was written with. Without one, damage is found, forgery is not.

        Raises:
            SnapshotFormatError, SnapshotUnsupportedError, LimitError
        """
        buffer = ffi.from_buffer(data)
        how: Dict[str, Any] = dict(context=context, mode=mode, max_bytes=max_bytes, mac_key=mac_key)
        return cls._read(lib.samba_snapshot_read_memory, buffer, len(buffer), **how)

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        context: Optional[Context] = None,
        mode: Optional[str] = None,
        max_bytes: Optional[int] = None,
        mac_key: Optional[bytes] = None,
    ) -> "Snapshot":
        """The same from a file. Raises SnapshotFileError too."""
        how: Dict[str, Any] = dict(context=context, mode=mode, max_bytes=max_bytes, mac_key=mac_key)
        return cls._read(lib.samba_snapshot_read_file, os.fsencode(path), **how)

    @staticmethod
    def verify(
        path: Path,
        *,
        context: Optional[Context] = None,
        max_bytes: Optional[int] = None,
        mac_key: Optional[bytes] = None,
    ) -> None:
        """Raises what `load` would raise, in little memory."""
        key, size = _key(mac_key)
        o = options(
            "samba_snapshot_read_options", max_bytes=max_bytes, mac_key=key, mac_key_size=size
        )
        where = (context or default_context())._open()
        call(lib.samba_snapshot_verify_file, where, os.fsencode(path), o, family=SnapshotError)

    @staticmethod
    def _write_options(
        codec: Optional[str], level: Optional[int], lossy_kv: bool, mac_key: Optional[bytes]
    ) -> Tuple[Any, Any]:
        key, size = _key(mac_key)
        o = options(
            "samba_snapshot_write_options",
            codec=choice("codec", codec, CODECS),
            zstd_level=level,
            lossy_kv=switch(lossy_kv or None),
            mac_key=key,
            mac_key_size=size,
        )
        return o, key  # the key's bytes must outlive the call

    def to_bytes(
        self,
        *,
        codec: Optional[str] = None,
        level: Optional[int] = None,
        lossy_kv: bool = False,
        mac_key: Optional[bytes] = None,
    ) -> bytes:
        """The snapshot as bytes: bounded, whatever was read.

        Args:
            codec: "zstd" (default) or "raw".
            level: of zstd; default 1.
            lossy_kv: keys and values as Q8_0, which changes them.
            mac_key: 16 to 64 bytes: adds a keyed checksum.
        """
        o, kept = self._write_options(codec, level, lossy_kv, mac_key)
        made = ffi.new("samba_bytes **")
        with self._lock:
            write = lib.samba_snapshot_write_memory
            call(write, self._open(), o, made, family=SnapshotError)
        del kept
        try:
            data = lib.samba_bytes_data(made[0])
            return bytes(ffi.buffer(data, lib.samba_bytes_size(made[0])))
        finally:
            lib.samba_bytes_free(made[0])

    def save(
        self,
        path: Path,
        *,
        codec: Optional[str] = None,
        level: Optional[int] = None,
        lossy_kv: bool = False,
        mac_key: Optional[bytes] = None,
    ) -> None:
        """Writes a file: what stands under `path` is the old file or the whole new one, whatever
        fails meanwhile. Arguments as for `to_bytes`. Raises SnapshotFileError."""
        o, kept = self._write_options(codec, level, lossy_kv, mac_key)
        with self._lock:
            write = lib.samba_snapshot_write_file
            call(write, self._open(), os.fsencode(path), o, family=SnapshotError)
        del kept

    @property
    def info(self) -> SnapshotInfo:
        """Position, model, sizes, metadata."""
        i = options("samba_snapshot_info")
        with self._lock:
            call(lib.samba_snapshot_get_info, self._open(), i)
            size = int(i.metadata_size)
            return SnapshotInfo(
                position=i.position,
                first_position=i.first_position,
                n_tokens=i.n_tokens,
                has_logits=bool(i.has_logits),
                n_vocab=i.n_vocab,
                kv_dtype=text(lib.samba_dtype_name(i.kv_dtype)),
                fingerprint=bytes(i.fingerprint),
                model_name=text(i.model_name),
                metadata=bytes(ffi.buffer(i.metadata, size)) if size else b"",
                raw_bytes=i.raw_bytes,
                file_bytes=i.file_bytes,
                format_version=i.format_version,
                lossy=bool(i.lossy),
                has_mac=bool(i.has_mac),
            )

    @property
    def sections(self) -> List[SnapshotSection]:
        """What it is made of, and what every part takes."""
        i, s = options("samba_snapshot_info"), options("samba_snapshot_section_info")
        pointer, found = self._open(), []
        call(lib.samba_snapshot_get_info, pointer, i)
        for index in range(i.n_sections):
            call(lib.samba_snapshot_get_section, pointer, index, s)
            sublayer = None if s.sublayer < 0 else int(s.sublayer)
            shape = tuple(s.dims[0 : s.n_dims])
            found.append(
                SnapshotSection(
                    text(s.name), sublayer, text(s.type), shape, s.raw_bytes, s.stored_bytes
                )
            )
        return found

    @property
    def metadata(self) -> bytes:
        """The caller's own bytes."""
        return self.info.metadata

    @property
    def tokens(self) -> List[int]:
        """Tokens kept; the last one stands at info.position - 1."""
        tokens, first, n = ffi.new("samba_token **"), ffi.new("uint64_t *"), ffi.new("size_t *")
        with self._lock:
            call(lib.samba_snapshot_tokens, self._open(), tokens, first, n)
            return token_list(tokens[0], n[0])

    def __reduce__(self) -> Tuple[Any, ...]:
        return (Snapshot.from_bytes, (self.to_bytes(),))
