"""Sessions: one sequence of a model, its tokens and its state."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

from . import _declarations as c
from ._context import Cancel, cancel_pointer, choice
from ._errors import Error, InvalidArgumentError, SnapshotError
from ._ffi import NULL, call, ffi, lib, options, switch, take_error, token_array, token_list
from ._generate import Generation, GenerateSettings, Stops
from ._handle import Handle
from ._model import DTYPES, Model
from ._sampler import Sampler
from ._snapshot import Snapshot
from ._stream import Stream

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

Prompt = Union[str, bytes, Sequence[int]]
Self = TypeVar("Self", bound="Session")

OUTPUTS: Dict[str, int] = {
    "last": c.SAMBA_OUTPUT_LAST,
    "all": c.SAMBA_OUTPUT_ALL,
    "none": c.SAMBA_OUTPUT_NONE,
}


class TokenLogprob(NamedTuple):
    """A token and its log-probability: natural log, of the raw distribution."""

    token: int
    logprob: float


class SessionStats(NamedTuple):
    """Figures of a session."""

    position: int
    state_bytes: int
    history_bytes: int
    n_passes: int
    prefill_tokens: int
    prefill_seconds: float
    decode_tokens: int
    decode_seconds: float
    n_checkpoints: int
    checkpoint_bytes: int


class RewindReport(NamedTuple):
    """What a rewind did."""

    position: int  #: where the session stands now
    restored_at: int  #: position of the checkpoint that it went back to
    replayed: int  #: tokens evaluated again from there
    exact: bool  #: state and logits are bit for bit those of that time


class Session(Handle):
    """One sequence: bounded state, copied in microseconds, rewound, saved.

    One call at a time; a call from another thread waits for the one in progress. Different
    sessions run in different threads, with the GIL released.

    Args:
        model: kept alive by the session.
        snapshot: start where it was taken.
        kv_dtype: of keys and values: "f16" (default), "f32", "bf16", "q8_0".
        rows_per_pass: most tokens evaluated in one pass; default 256.
        max_history: tokens kept for penalties and `tokens`; default all; 0: none.
        max_state_bytes: an eval that would need more raises LimitError; default no limit.
        first_position: position of the first token; default 0.
        checkpoint_bytes: budget for checkpoints (see `rewind`); default: once the whole state; 0:
            none are kept.
        checkpoint_interval: least tokens between two automatic checkpoints; default 64.

    Raises:
        SnapshotMismatchError: the snapshot is of another model, tokenizer or kv_dtype.
    """

    def __init__(
        self,
        model: Model,
        *,
        snapshot: Optional[Snapshot] = None,
        kv_dtype: Optional[str] = None,
        rows_per_pass: Optional[int] = None,
        max_history: Optional[int] = None,
        max_state_bytes: Optional[int] = None,
        first_position: Optional[int] = None,
        checkpoint_bytes: Optional[int] = None,
        checkpoint_interval: Optional[int] = None,
    ) -> None:
        o = options(
            "samba_session_options",
            kv_dtype=choice("kv_dtype", kv_dtype, DTYPES),
            rows_per_pass=rows_per_pass,
            max_history=c.SAMBA_HISTORY_NONE if max_history == 0 else max_history,
            max_state_bytes=max_state_bytes,
            first_position=first_position,
            checkpoint_bytes=c.SAMBA_CHECKPOINTS_NONE if checkpoint_bytes == 0 else checkpoint_bytes,
            checkpoint_interval=checkpoint_interval,
        )
        made = ffi.new("samba_session **")
        with model._lock:
            if snapshot is None:
                call(lib.samba_session_create, model._open(), o, made)
            else:
                image = snapshot._open()
                create = lib.samba_session_create_from
                call(create, model._open(), image, o, made, family=SnapshotError)
        self._adopt(model, made[0])

    def _adopt(self, model: Model, pointer: Any) -> None:
        Handle.__init__(self, pointer, lib.samba_session_free)
        self._model = model
        # Reused by the calls that run once per token.
        self._error: Any = ffi.new("samba_error **")
        self._token: Any = ffi.new("samba_token[1]")
        self._logprob: Any = ffi.new("float *")
        self._spent: Dict[str, Any] = {}  # statistics of handles that clones took the place of

    # ------------------------------------------------------------ reading

    @property
    def model(self) -> Model:
        """The model it belongs to."""
        return self._model

    @property
    def position(self) -> int:
        """Position of the next token: first_position + tokens evaluated so far."""
        with self._lock:
            return int(lib.samba_session_position(self._open()))

    def __len__(self) -> int:
        return self.position

    def _history(self) -> Tuple[List[int], int]:
        tokens, first, n = (
            ffi.new("samba_token **"),
            ffi.new("uint64_t *"),
            ffi.new("size_t *"),
        )
        with self._lock:
            call(lib.samba_session_tokens, self._open(), tokens, first, n)
            return token_list(tokens[0], n[0]), int(first[0])

    @property
    def tokens(self) -> List[int]:
        """Tokens kept, oldest first; the last one stands at position - 1."""
        return self._history()[0]

    @property
    def text(self) -> str:
        """Text of the tokens kept, special ones left out."""
        return self._model.tokenizer.decode(self.tokens, skip_special=True)

    @property
    def stats(self) -> SessionStats:
        """Bytes held, passes run, tokens and seconds."""
        s = options("samba_session_stats")
        with self._lock:
            call(lib.samba_session_get_stats, self._open(), s)
            spent = self._spent
            return SessionStats(*(getattr(s, f) + spent.get(f, 0) for f in SessionStats._fields))

    # ------------------------------------------------------------ logits

    @property
    def n_rows(self) -> int:
        """Output rows of the last eval."""
        with self._lock:
            return int(lib.samba_session_n_rows(self._open()))

    def logits_buffer(self) -> memoryview:
        """All output rows of the last eval: read-only float32 of shape [n_rows, n_vocab].

        Shares the library's memory without a copy, and holds on to it: it stays valid, and stays
        as it is, whatever happens to the session.

        Raises:
            StateError: there are none; feed something first.
        """
        made, rows, vocab = ffi.new("samba_logits **"), ffi.new("size_t *"), ffi.new("size_t *")
        with self._lock:
            call(lib.samba_session_hold_logits, self._open(), made)
        data = lib.samba_logits_data(made[0], rows, vocab)
        held = made[0]
        data = ffi.gc(data, lambda _data: lib.samba_logits_release(held))
        n, width = int(rows[0]), int(vocab[0])
        view: Any = memoryview(ffi.buffer(data, n * width * 4)).toreadonly()
        rows_of_floats: memoryview = view.cast("f", (n, width))
        return rows_of_floats

    @property
    def logits(self) -> "NDArray[numpy.float32]":
        """Logits of the last token: a read-only float32 array [n_vocab], without a copy.

        It holds on to its memory: it stays valid, and stays as it is, after the next eval and after
        close(). Needs numpy; `logits_buffer` is the same without it.

        Raises:
            StateError: there are none; feed something first.
        """
        last: NDArray[numpy.float32] = self.all_logits[-1]
        return last

    @property
    def all_logits(self) -> "NDArray[numpy.float32]":
        """Logits of every output row of the last eval: float32 [n_rows, n_vocab], as `logits`."""
        import numpy

        return numpy.asarray(self.logits_buffer())

    def hidden(self, row: int = -1) -> "NDArray[numpy.float32]":
        """Hidden state of an output row, if the eval asked for it: a copy, float32 [d_model]."""
        import numpy

        data, n = ffi.new("float **"), ffi.new("size_t *")
        with self._lock:
            call(lib.samba_session_hidden, self._open(), self._row(row), data, n)
            return numpy.frombuffer(bytes(ffi.buffer(data[0], n[0] * 4)), dtype=numpy.float32)

    def _row(self, row: int) -> int:
        if row >= 0:
            return row
        n = int(lib.samba_session_n_rows(self._open()))
        return n + row if row != -1 and n + row >= 0 else c.SAMBA_ROW_LAST

    def top_logprobs(self, n: int, row: int = -1) -> List[TokenLogprob]:
        """The n most likely tokens by an output row, best first (ties: lower id first)."""
        with self._lock:
            return self._top_at(self._open(), n, self._row(row))

    @staticmethod
    def _top_at(at: Any, n: int, row: int = c.SAMBA_ROW_LAST) -> List[TokenLogprob]:
        top = ffi.new("samba_logprob[]", max(n, 1))
        call(lib.samba_session_top_logprobs, at, row, n, top)
        return [TokenLogprob(t.token, t.logprob) for t in top[0:n]]

    def logprob(self, token: int, row: int = -1) -> float:
        """log p(token) by an output row; what `score` gives for the same token there."""
        out = ffi.new("float *")
        with self._lock:
            call(lib.samba_session_logprob, self._open(), self._row(row), token, out)
        return float(out[0])

    # ------------------------------------------------------------ feeding

    def feed(
        self,
        prompt: Prompt,
        *,
        outputs: Optional[str] = None,
        hidden: Optional[int] = None,
        cancel: Optional[Cancel] = None,
    ) -> None:
        """Feeds text or tokens.

        Args:
            prompt: text is tokenized (special tokens in it stay text; what the tokenizer adds in
                front only at the first position); a sequence of ints, or a buffer of int32, is
                tokens.
            outputs: "last" (default): logits of the last token; "all": of every token, n * n_vocab
                floats are held; "none".
            hidden: also keep hidden states of those rows: -1 after the final norm, i >= 1 the
                residual stream after block i-1.
            cancel: ends the call from another thread.

        Raises:
            CancelledError, LimitError, OutOfMemoryError, BackendError: the session stands at the
                end of the last whole pass (`position` tells) and can go on from there.
            InvalidArgumentError: a token that the vocabulary lacks.
            UnsupportedError: text, and the model has no tokenizer.
        """
        o = options(
            "samba_eval_options",
            outputs=choice("outputs", outputs, OUTPUTS),
            hidden=hidden,
            cancel=cancel_pointer(cancel),
        )
        if isinstance(prompt, (str, bytes)):
            raw = prompt.encode("utf-8", "surrogatepass") if isinstance(prompt, str) else prompt
            with self._lock:
                call(lib.samba_session_feed_text, self._open(), raw, len(raw), o)
            return
        tokens = token_array(prompt)
        with self._lock:
            call(lib.samba_session_eval, self._open(), tokens, len(tokens), o)

    def propose(self, tokens: Sequence[int]) -> None:
        """Evaluates tokens as a proposal (speculative decoding): the logits of every one can be
        read, and `keep` says how many of them stay. At most rows_per_pass tokens."""
        array = token_array(tokens)
        o = options("samba_eval_options", outputs=c.SAMBA_OUTPUT_ALL, speculative=c.SAMBA_YES)
        with self._lock:
            call(lib.samba_session_eval, self._open(), array, len(array), o)

    def keep(self, n_tokens: int) -> None:
        """Keeps the first n tokens of a proposal; nothing is computed again."""
        with self._lock:
            call(lib.samba_session_keep, self._open(), n_tokens)

    def score(self, tokens: Prompt, *, cancel: Optional[Cancel] = None) -> List[float]:
        """Feeds tokens and gives log p(tokens[i] | everything before it) for each: natural log, of
        the raw distribution, without holding rows of logits. At the first position of a session
        there is nothing to score the first token by: its value is 0. Errors as for `feed`."""
        if isinstance(tokens, (str, bytes)):
            tokens = self._model.tokenizer.encode(tokens, add_special=self.position == 0)
        array = token_array(tokens)
        out = ffi.new("float[]", max(1, len(array)))
        o = options("samba_eval_options", cancel=cancel_pointer(cancel))
        with self._lock:
            call(lib.samba_session_score, self._open(), array, len(array), o, out)
        return list(out[0 : len(array)])

    def reset(self) -> None:
        """Back to the first position, as if new; keeps its memory for reuse."""
        with self._lock:
            call(lib.samba_session_reset, self._open())

    # ------------------------------------------------------------ drawing

    def sample(self, sampler: Optional[Sampler] = None, *, branch: int = 0) -> TokenLogprob:
        """Draws the next token from the last logits; feeds nothing. None is greedy. `branch` tells
        apart draws at one position (best of n)."""
        with self._lock:
            token = self._draw_at(self._open(), sampler, branch)
            return TokenLogprob(token, self._logprob[0])

    def _draw_at(self, at: Any, sampler: Optional[Sampler], branch: int) -> int:
        """Draws for the session or a clone of it, into _token and _logprob; with the lock held."""
        chain = NULL if sampler is None else sampler._open()
        draw = lib.samba_session_sample
        if draw(at, chain, branch, self._token, self._logprob, self._error):
            error = take_error(self._error)
            raise error if sampler is None else sampler._cause(error) from None
        token: int = self._token[0]
        return token

    def _text_begins(self) -> bool:
        """Whether nothing but special tokens has been fed."""
        tokens, first = self._history()
        tokenizer = self._model.tokenizer
        return first == 0 and all(map(tokenizer.is_special, tokens))

    def generate(
        self,
        prompt: Optional[Prompt] = None,
        *,
        sampler: Optional[Sampler] = None,
        max_tokens: Optional[int] = None,
        stop: Union[str, Sequence[str]] = (),
        stop_tokens: Sequence[int] = (),
        ignore_eos: bool = False,
        top_logprobs: int = 0,
        branch: int = 0,
        skip_special: bool = True,
        cancel: Optional[Cancel] = None,
    ) -> Generation:
        """Feeds the prompt, then draws and feeds tokens; iterate over the result for the pieces.

        Every piece is a str with `token`, `logprob`, `position` and `top`. Every piece that came
        out has been fed, so that the session may be continued, cloned or saved at any time, also
        after breaking out of the loop.

        Args:
            prompt: fed first, see `feed`; None: go on from where the session stands.
            sampler: None is greedy.
            max_tokens: default 256.
            stop: texts that end the generation, at most 64. Nothing of them comes out, also when
                they span several tokens; the token in which one begins does, if it has text before.
            stop_tokens: besides the model's EOS; they do not come out and are not fed.
            ignore_eos: EOS is a token like any other.
            top_logprobs: alternatives with every piece, at most 64.
            branch: see `sample`.
            skip_special: special tokens give no text.
            cancel: ends it from another thread.

        Raises:
            InvalidArgumentError: a value out of its range; nothing has been fed.
            Errors of `feed`, for the prompt.

        Raises (when iterating):
            StateError: the session has no logits: nothing has been fed yet.
            CancelledError, LimitError, OutOfMemoryError: the session stands after the last piece.
            Whatever a callback of the sampler raised: so here too. An exception ends it.
        """
        settings = GenerateSettings(
            sampler=sampler,
            max_tokens=256 if max_tokens is None else max_tokens,
            stops=Stops.of(stop),
            stop_tokens=frozenset(stop_tokens),
            ignore_eos=ignore_eos,
            top_logprobs=top_logprobs,
            branch=branch,
            skip_special=skip_special,
            cancel=cancel,
        )
        settings.check(self._model.info.n_vocab)
        if prompt is not None:
            self.feed(prompt, cancel=cancel)
        return Generation(self, settings)

    def stream(self, prompt: Optional[Prompt] = None, **settings: Any) -> Stream:
        """`generate` on the library's own thread: `async for piece in session.stream("...")`.

        The event loop goes on meanwhile, and all streams of a model share passes. Breaking out of
        the loop, or cancelling the task, ends the stream; the session then stands after the last
        piece delivered. The stream is also an iterator for threads.

        Arguments as for `generate` (but `cancel`), and:
            deadline: seconds from now, after which no more tokens are made.
            priority: 1 to 100, default 10: share of what streams have to share.
            queue_depth: tokens ready before the stream waits for its reader; default 8.
            prefix_cache: a `PrefixCache`, which the prompt is read by way of: the stream starts
                behind the longest beginning of session and prompt that is cached.

        Raises:
            MismatchError, StateError: prefix_cache, as for `PrefixCache.eval`.
            BusyError: a stream has the session already.
            LimitError: more state than `Model.set_stream_limits` allows at all.
            Errors otherwise as for `generate`.
        """
        return Stream(self, prompt, **settings)

    # ------------------------------------------------------------ state

    def clone(self: Self) -> Self:
        """An independent copy that shares memory until one of both moves on. Microseconds."""
        made = ffi.new("samba_session **")
        with self._lock:
            call(lib.samba_session_clone, self._open(), made)
        twin = type(self).__new__(type(self))
        twin._adopt(self._model, made[0])
        return twin

    __copy__ = clone

    def _clone_of(self, at: Any) -> Any:
        """A clone of the session or of one of its clones, as a pointer; with the lock held."""
        made = ffi.new("samba_session **")
        call(lib.samba_session_clone, at, made)
        return ffi.gc(made[0], lib.samba_session_free)

    def _become(self, clone: Any) -> None:
        """Goes on as a clone that has read further; the C library has no call for that. With the
        lock held. BusyError, of reading the statistics, if a stream has the session."""
        pointer, s = self._open(), options("samba_session_stats")
        call(lib.samba_session_get_stats, pointer, s)
        for field in ("n_passes", "prefill_tokens", "prefill_seconds", "decode_tokens", "decode_seconds"):
            self._spent[field] = self._spent.get(field, 0) + getattr(s, field)
        self._pointer = clone
        ffi.release(pointer)

    def snapshot(self, metadata: bytes = b"") -> Snapshot:
        """An immutable image of the session: tokens, state, last logits, and bytes of the
        caller's own. Microseconds, whatever has been read."""
        o = options("samba_snapshot_options", metadata_size=len(metadata))
        kept = ffi.from_buffer(metadata)
        o.metadata = kept if metadata else NULL
        made = ffi.new("samba_snapshot **")
        with self._lock:
            call(lib.samba_session_snapshot, self._open(), o, made)
        return Snapshot(made[0], self._model)

    def restore(self, snapshot: Snapshot) -> None:
        """Puts the session where the snapshot's was. Its own options stay; its checkpoints go.

        Raises:
            SnapshotMismatchError: model, tokenizer or kv_dtype differ; the session stands as it was.
        """
        with self._lock, snapshot._lock:
            image = snapshot._open()
            call(lib.samba_session_restore, self._open(), image, family=SnapshotError)

    def rewind(
        self,
        position: int,
        *,
        max_replay: Optional[int] = None,
        dry_run: bool = False,
        cancel: Optional[Cancel] = None,
    ) -> RewindReport:
        """Back to an earlier position, tokens and logits included.

        Restores the nearest checkpoint at or before it, evaluates what lies in between again, and
        reports that.

        Args:
            position: negative counts back from the present one: -5 takes five tokens back.
            max_replay: most tokens evaluated again; default no limit, 0: none.
            dry_run: only report what it would take.

        Raises:
            InvalidArgumentError: a position ahead, or before the first.
            LimitError: more than max_replay tokens to evaluate again.
            StateError: no checkpoint from which the tokens are still kept.
        """
        o = options(
            "samba_rewind_options",
            max_replay=c.SAMBA_REPLAY_NONE if max_replay == 0 else max_replay,
            dry_run=switch(dry_run or None),
            cancel=cancel_pointer(cancel),
        )
        r = options("samba_rewind_report")
        with self._lock:
            if position < 0:
                position += int(lib.samba_session_position(self._open()))
            if position < 0:
                raise InvalidArgumentError(f"the position is {position}, before the first")
            call(lib.samba_session_rewind, self._open(), position, o, r)
        return RewindReport(r.position, r.restored_at, r.replayed, bool(r.exact))

    def pin(self) -> int:
        """Keeps a checkpoint of the present position until `unpin`, whatever the budget; gives the
        position."""
        with self._lock:
            call(lib.samba_session_pin, self._open())
            return int(lib.samba_session_position(self._open()))

    def unpin(self, position: int) -> None:
        """Lets the checkpoint at `position` go when the budget asks for it.

        Raises:
            NotFoundError: none is pinned there.
        """
        with self._lock:
            call(lib.samba_session_unpin, self._open(), position)

    def __repr__(self) -> str:
        return "<Session closed>" if self.closed else f"<Session at {self.position}>"


class BatchItem(NamedTuple):
    """One session's part of a batch."""

    session: Session
    tokens: Sequence[int]
    outputs: Optional[str] = None


def eval_batch(
    items: Sequence[Union[BatchItem, Tuple[Session, Sequence[int]]]],
    *,
    rows_per_pass: Optional[int] = None,
    cancel: Optional[Cancel] = None,
) -> List[Optional[Error]]:
    """Evaluates several sessions of one model together: the results are those of each alone, bit
    for bit, in less time.

    Items are (session, tokens) or `BatchItem`; a session may stand in a batch once. Gives, per
    item, None or why it failed; the others are not held up.
    """
    parts = [item if isinstance(item, BatchItem) else BatchItem(*item) for item in items]
    array = ffi.new("samba_eval_item[]", max(1, len(parts)))
    kept = []
    locks = sorted({id(p.session): p.session._lock for p in parts}.items())
    for _, lock in locks:
        lock.acquire()
    try:
        for slot, part in zip(array, parts):
            tokens = token_array(part.tokens)
            o = options("samba_eval_options", outputs=choice("outputs", part.outputs, OUTPUTS))
            kept.append((tokens, o))
            slot.session = part.session._open()
            slot.tokens, slot.n_tokens, slot.options = tokens, len(tokens), o
        batch = options(
            "samba_batch_options", rows_per_pass=rows_per_pass, cancel=cancel_pointer(cancel)
        )
        size = ffi.sizeof("samba_eval_item")
        holder = ffi.new("samba_error **")
        first: Optional[Error] = None
        if lib.samba_eval_batch(array, len(parts), size, batch, holder):
            first = take_error(holder)
    finally:
        for _, lock in reversed(locks):
            lock.release()
    return _batch_errors([slot.status for slot in array][: len(parts)], first)


def _batch_errors(statuses: List[int], first: Optional[Error]) -> List[Optional[Error]]:
    """The message is the first failure's; of the others the status is known."""
    from ._errors import error_class
    from ._ffi import text

    errors: List[Optional[Error]] = []
    for status in statuses:
        if not status:
            errors.append(None)
        elif first is not None and status == first.status and not any(errors):
            errors.append(first)
        else:
            errors.append(error_class(status)(text(lib.samba_status_string(status)), status=status))
    return errors
