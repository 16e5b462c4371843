"""Run recurrent-hybrid language models (the Samba family) with state that is small and bounded:
cloned in microseconds, saved, rewound, resumed, exactly.

    import libsamba as samba

    with samba.Model.load("samba-13m.gguf") as model, model.session() as session:
        for piece in session.generate("It was a dark night, and", max_tokens=32):
            print(piece, end="")
"""

from __future__ import annotations

from ._context import Cancel, Context, ProfileEntry, default_context
from ._errors import (
    BackendError,
    BusyError,
    CancelledError,
    Error,
    FileError,
    FormatError,
    InternalError,
    InvalidArgumentError,
    LimitError,
    MismatchError,
    ModelError,
    ModelFileError,
    ModelFormatError,
    ModelMismatchError,
    ModelUnsupportedError,
    NotFoundError,
    OutOfMemoryError,
    SnapshotError,
    SnapshotFileError,
    SnapshotFormatError,
    SnapshotMismatchError,
    SnapshotUnsupportedError,
    StateError,
    UnsupportedError,
)
from ._ffi import lib as _lib
from ._ffi import text as _text
from ._generate import Generation, Piece
from ._model import (
    ConvertReport,
    Estimate,
    Model,
    ModelInfo,
    StreamStats,
    Sublayer,
    convert,
    estimate,
)
from ._prefix_cache import PrefixCache, PrefixCacheStats, PrefixReport
from ._sampler import Candidate, Sampler, SamplerState
from ._session import (
    BatchItem,
    RewindReport,
    Session,
    SessionStats,
    TokenLogprob,
    eval_batch,
)
from ._snapshot import Snapshot, SnapshotInfo, SnapshotSection
from ._stream import Stream
from ._tokenizer import Detokenizer, Tokenizer

__version__: str = _text(_lib.samba_version_string())

__all__ = [
    "BackendError",
    "BatchItem",
    "BusyError",
    "Cancel",
    "CancelledError",
    "Candidate",
    "Context",
    "ConvertReport",
    "Detokenizer",
    "Error",
    "Estimate",
    "FileError",
    "FormatError",
    "Generation",
    "InternalError",
    "InvalidArgumentError",
    "LimitError",
    "MismatchError",
    "Model",
    "ModelError",
    "ModelFileError",
    "ModelFormatError",
    "ModelInfo",
    "ModelMismatchError",
    "ModelUnsupportedError",
    "NotFoundError",
    "OutOfMemoryError",
    "Piece",
    "PrefixCache",
    "PrefixCacheStats",
    "PrefixReport",
    "ProfileEntry",
    "RewindReport",
    "Sampler",
    "SamplerState",
    "Session",
    "SessionStats",
    "Snapshot",
    "SnapshotError",
    "SnapshotFileError",
    "SnapshotFormatError",
    "SnapshotInfo",
    "SnapshotMismatchError",
    "SnapshotSection",
    "SnapshotUnsupportedError",
    "StateError",
    "Stream",
    "StreamStats",
    "Sublayer",
    "TokenLogprob",
    "Tokenizer",
    "UnsupportedError",
    "convert",
    "default_context",
    "estimate",
    "eval_batch",
]
