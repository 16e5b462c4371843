"""Models, and converting them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Union

from . import _declarations as c
from ._context import Cancel, Context, cancel_pointer, choice, default_context
from ._errors import CancelledError, ModelError
from ._ffi import call, ffi, lib, options, switch, text
from ._handle import Handle
from ._tokenizer import Tokenizer

if TYPE_CHECKING:
    from ._session import Session
    from ._snapshot import Snapshot

Path = Union[str, "os.PathLike[str]"]
Progress = Callable[[int, int], Optional[bool]]

DTYPES: Dict[str, int] = {
    "f32": c.SAMBA_DTYPE_F32,
    "f16": c.SAMBA_DTYPE_F16,
    "bf16": c.SAMBA_DTYPE_BF16,
    "q8_0": c.SAMBA_DTYPE_Q8_0,
    "q4_0": c.SAMBA_DTYPE_Q4_0,
    "q4_k": c.SAMBA_DTYPE_Q4_K,
    "q6_k": c.SAMBA_DTYPE_Q6_K,
}
ROPE_TABLES: Dict[str, int] = {"bf16": c.SAMBA_ROPE_TABLE_BF16, "f32": c.SAMBA_ROPE_TABLE_F32}


class ModelInfo(NamedTuple):
    """What is known of a loaded model."""

    family: str  #: "lit_gpt", "fla_samba", "mamba", "phi4flash", "samba" (GGUF), ...
    name: str  #: from the file; "" if it has none
    backend: str
    tier: str  #: instruction set or device
    weight_types: str  #: tensors by type, e.g. "q8_0 42, f32 97"
    chat_template: Optional[str]  #: text of the Jinja template
    n_parameters: int
    weight_bytes: int
    n_vocab: int
    d_model: int
    n_blocks: int
    n_sublayers: int
    has_tokenizer: bool
    bos_token: Optional[int]
    eos_token: Optional[int]
    invariant: bool  #: logits do not depend on chunking, batching, threads
    fingerprint: bytes  #: 16 bytes: architecture, weights and tokenizer, whatever the container
    load_seconds: float
    n_threads: int
    head_dtype: str


class Sublayer(NamedTuple):
    """One normalised mixer or MLP of the model; what does not apply is 0."""

    kind: str  #: "mamba", "attention", "diff_attention", "gmu", "gla", "retention", "swiglu"
    norm: str  #: "rms" or "layer"
    block: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    window: int  #: keys seen, own included; 0: all, or no attention
    d_inner: int
    d_state: int
    d_conv: int
    weight_bytes: int
    slab_bytes: int  #: recurrent state per session
    dt_rank: int
    key_dim: int
    value_dim: int
    cross: bool


class Estimate(NamedTuple):
    """Bytes that a model and its sessions will take."""

    weight_bytes: int
    load_peak_bytes: int
    pass_bytes: int
    state_bytes: int
    state_bytes_per_token: int
    history_bytes_per_token: int


class StreamStats(NamedTuple):
    """Figures of all streams of a model."""

    n_open: int  #: not closed
    n_running: int  #: at work
    n_waiting: int  #: held up by max_state_bytes
    n_passes: int  #: since the model was loaded, as the rest
    n_rows: int
    pass_seconds: float  #: in passes
    draw_seconds: float  #: drawing tokens between them
    overhead_seconds: float  #: all else between passes


class ConvertReport(NamedTuple):
    """What `convert` wrote."""

    n_tensors: int
    n_kept: int  #: matrices kept in another type because rows are no multiple of a block
    file_bytes: int


class _Progress:
    """A progress function as a C callback. What it raises, or returning False, cancels the call,
    and the exception goes on from there."""

    def __init__(self, function: Optional[Progress]) -> None:
        self.raised: Optional[BaseException] = None
        self.callback: Any = ffi.NULL
        if function is None:
            return
        report = function

        def deliver(_user: Any, done: int, total: int) -> int:
            return c.SAMBA_STOP if report(done, total) is False else c.SAMBA_CONTINUE

        def failed(_kind: Any, value: BaseException, _traceback: Any) -> int:
            self.raised = value
            return c.SAMBA_STOP

        self.callback = ffi.callback("samba_progress_fn", deliver, onerror=failed)

    def call(self, function: Any, *arguments: Any) -> None:
        try:
            call(function, *arguments, family=ModelError)
        except CancelledError:
            if self.raised is not None:
                raise self.raised from None
            raise


def _model_options(
    progress: _Progress,
    cancel: Optional[Cancel] = None,
    weight_dtype: Optional[str] = None,
    rope_table: Optional[str] = None,
    mmap: Optional[bool] = None,
) -> Any:
    return options(
        "samba_model_options",
        progress=progress.callback,
        cancel=cancel_pointer(cancel),
        weight_dtype=choice("weight_dtype", weight_dtype, DTYPES),
        rope_table=choice("rope_table", rope_table, ROPE_TABLES),
        mmap=switch(mmap),
    )


class Model(Handle):
    """Weights, plan and tokenizer: immutable, shared by any number of sessions and threads.

    Made by `Model.load` or `Model.from_bytes`. Sessions keep it alive: closing it, or dropping it,
    while they live is fine.
    """

    _shared = True

    def __init__(self, pointer: Any, context: Context) -> None:
        super().__init__(pointer, lib.samba_model_release)
        self._context = context
        self._info: Optional[ModelInfo] = None

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        context: Optional[Context] = None,
        progress: Optional[Progress] = None,
        cancel: Optional[Cancel] = None,
        weight_dtype: Optional[str] = None,
        rope_table: Optional[str] = None,
        mmap: Optional[bool] = None,
    ) -> "Model":
        """Loads a Hugging Face style folder, a .safetensors file or a .gguf file.

        Args:
            path: the file's bytes decide what it is, not its name.
            context: default: `default_context()`.
            progress: called as progress(done_bytes, total_bytes); False cancels, and what it
                raises comes out of this call.
            cancel: ends the call from another thread.
            weight_dtype: convert matrices while loading: "f32", "f16", "bf16", "q8_0", "q6_k",
                "q4_k" or "q4_0"; default: the file's type.
            rope_table: "bf16" or "f32"; default: the family's own.
            mmap: map files while loading; saves a copy, but a file cut short meanwhile kills the
                process.

        Raises:
            ModelFileError, ModelFormatError, ModelUnsupportedError, ModelMismatchError: with
                `file`, `tensor` and `offset` where they are known, both values in the message.
            CancelledError, OutOfMemoryError
        """
        where = context or default_context()
        watch = _Progress(progress)
        made = ffi.new("samba_model **")
        o = _model_options(watch, cancel, weight_dtype, rope_table, mmap)
        watch.call(lib.samba_model_load, where._open(), os.fsencode(path), o, made)
        return cls(made[0], where)

    @classmethod
    def from_bytes(
        cls,
        data: Union[bytes, bytearray, memoryview],
        *,
        context: Optional[Context] = None,
        progress: Optional[Progress] = None,
        cancel: Optional[Cancel] = None,
        weight_dtype: Optional[str] = None,
        rope_table: Optional[str] = None,
        config_json: Optional[str] = None,
        tokenizer_json: Optional[str] = None,
    ) -> "Model":
        """Loads one file from memory; `data` is not needed afterwards.

        A safetensors file also needs the text of its config.json, and of tokenizer.json if texts
        are to be fed. Arguments and errors otherwise as for `load`.
        """
        where = context or default_context()
        watch = _Progress(progress)
        made = ffi.new("samba_model **")
        o = _model_options(watch, cancel, weight_dtype, rope_table)
        kept = []
        for field, value in (("config_json", config_json), ("tokenizer_json", tokenizer_json)):
            if value is not None:
                raw = value.encode()
                kept.append(ffi.from_buffer("char[]", raw))
                setattr(o, field, kept[-1])
                setattr(o, field + "_size", len(raw))
        buffer = ffi.from_buffer(data)
        watch.call(lib.samba_model_load_memory, where._open(), buffer, len(buffer), o, made)
        return cls(made[0], where)

    @property
    def context(self) -> Context:
        """The context that it was loaded in."""
        return self._context

    @property
    def info(self) -> ModelInfo:
        """Family, sizes, types, special tokens, fingerprint."""
        with self._lock:
            pointer = self._open()
            if self._info is None:
                i = options("samba_model_info")
                call(lib.samba_model_get_info, pointer, i)
                self._info = ModelInfo(
                    family=text(i.family),
                    name=text(i.name),
                    backend=text(i.backend),
                    tier=text(i.tier),
                    weight_types=text(i.weight_types),
                    chat_template=None if i.chat_template == ffi.NULL else text(i.chat_template),
                    n_parameters=i.n_parameters,
                    weight_bytes=i.weight_bytes,
                    n_vocab=i.n_vocab,
                    d_model=i.d_model,
                    n_blocks=i.n_blocks,
                    n_sublayers=i.n_sublayers,
                    has_tokenizer=bool(i.has_tokenizer),
                    bos_token=None if i.bos_token < 0 else i.bos_token,
                    eos_token=None if i.eos_token < 0 else i.eos_token,
                    invariant=bool(i.invariant),
                    fingerprint=bytes(i.fingerprint),
                    load_seconds=i.load_seconds,
                    n_threads=i.n_threads,
                    head_dtype=text(lib.samba_dtype_name(i.head_dtype)),
                )
            return self._info

    @property
    def n_vocab(self) -> int:
        """Size of the vocabulary, which is the length of a row of logits."""
        return self.info.n_vocab

    @property
    def sublayers(self) -> List[Sublayer]:
        """The sublayers in the order in which they run."""
        found = []
        for index in range(self.info.n_sublayers):
            s = options("samba_sublayer_info")
            call(lib.samba_model_get_sublayer, self._open(), index, s)
            numbers = [getattr(s, field) for field in Sublayer._fields[2:-1]]
            found.append(Sublayer._make([text(s.kind), text(s.norm), *numbers, bool(s.cross)]))
        return found

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to tokens and back; its calls raise UnsupportedError if the model has none."""
        return Tokenizer(self)

    @property
    def stream_stats(self) -> StreamStats:
        """How many streams there are, and where the time between their tokens goes."""
        s = options("samba_stream_stats")
        call(lib.samba_model_get_stream_stats, self._open(), s)
        return StreamStats(*(getattr(s, field) for field in StreamStats._fields))

    def set_stream_limits(
        self,
        *,
        max_state_bytes: Optional[int] = None,
        max_gap_ms: Optional[int] = None,
        rows_per_pass: Optional[int] = None,
    ) -> None:
        """How the model's streams share it, from the next pass on; what is not given is as at first.

        Args:
            max_state_bytes: of all running streams' state and work ahead. A stream that does not fit
                now waits, by priority, then in the order of coming; one that never can is refused
                (`LimitError`). Default: no limit.
            max_gap_ms: most time between two tokens of a running stream that prompts beside it may
                cause; default 50.
            rows_per_pass: most tokens of a pass, up to 512; default 256.
        """
        o = options(
            "samba_stream_limits",
            max_state_bytes=max_state_bytes,
            max_gap_ms=max_gap_ms,
            rows_per_pass=rows_per_pass,
        )
        call(lib.samba_model_set_stream_limits, self._open(), o)

    def session(self, snapshot: Optional["Snapshot"] = None, **settings: Any) -> "Session":
        """A new session, at the start or at a snapshot; `settings` as for `Session`."""
        from ._session import Session

        return Session(self, snapshot=snapshot, **settings)

    def tokenize(self, text: Union[str, bytes], **how: Any) -> List[int]:
        """Short for tokenizer.encode."""
        return self.tokenizer.encode(text, **how)

    def detokenize(self, tokens: Sequence[int], **how: Any) -> str:
        """Short for tokenizer.decode."""
        return self.tokenizer.decode(tokens, **how)

    def __repr__(self) -> str:
        if self.closed:
            return "<Model closed>"
        return f"<Model {self.info.name or self.info.family}, {self.info.n_parameters} parameters>"


def convert(
    in_path: Path,
    out_path: Path,
    *,
    weight_dtype: Optional[str] = None,
    rope_table: Optional[str] = None,
    name: Optional[str] = None,
    progress: Optional[Progress] = None,
    cancel: Optional[Cancel] = None,
    context: Optional[Context] = None,
) -> ConvertReport:
    """Writes any checkpoint that loads as one GGUF file with plan and tokenizer inside.

    The output appears under its name only when it is complete. `weight_dtype` is the type of the
    matrices (see `Model.load`; default: the input's), `name` the model's name in the file. Errors
    as for `Model.load`, and FileError if the output can't be written.
    """
    watch = _Progress(progress)
    title = None if name is None else ffi.new("char[]", name.encode())
    o = options(
        "samba_convert_options",
        weight_dtype=choice("weight_dtype", weight_dtype, DTYPES),
        rope_table=choice("rope_table", rope_table, ROPE_TABLES),
        name=title,
        progress=watch.callback,
        cancel=cancel_pointer(cancel),
    )
    report = options("samba_convert_report")
    where = (context or default_context())._open()
    watch.call(lib.samba_convert, where, os.fsencode(in_path), os.fsencode(out_path), o, report)
    return ConvertReport(report.n_tensors, report.n_kept, report.file_bytes)


def estimate(
    path: Path,
    *,
    weight_dtype: Optional[str] = None,
    kv_dtype: Optional[str] = None,
    rows_per_pass: Optional[int] = None,
    context: Optional[Context] = None,
) -> Estimate:
    """What a model and a session would take, from the headers of its files alone."""
    o = _model_options(_Progress(None), weight_dtype=weight_dtype)
    s = options(
        "samba_session_options",
        kv_dtype=choice("kv_dtype", kv_dtype, DTYPES),
        rows_per_pass=rows_per_pass,
    )
    e = options("samba_estimate")
    where = (context or default_context())._open()
    call(lib.samba_model_estimate, where, os.fsencode(path), o, s, e, family=ModelError)
    return Estimate(*(int(getattr(e, field)) for field in Estimate._fields))
