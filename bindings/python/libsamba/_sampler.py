"""Samplers: how the next token is drawn."""

from __future__ import annotations

import struct
import threading
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
)

from ._context import Context, default_context
from ._errors import CancelledError, Error
from ._ffi import call, ffi, float_array, lib, options, take_error, token_array, token_list
from ._handle import Handle

if TYPE_CHECKING:
    from ._session import TokenLogprob

Self = TypeVar("Self", bound="Sampler")


class SamplerState(NamedTuple):
    """What a mask or a stage may look at."""

    history: List[int]  #: tokens kept, oldest first
    position: int  #: of the token to be drawn
    branch: int


    @classmethod
    def _of(cls, state: Any) -> "SamplerState":
        return cls(token_list(state.history, state.n_history), state.position, state.branch)


class Candidate(NamedTuple):
    """A token that may still be drawn, and its logit as the stages before have left it."""

    token: int
    logit: float


Mask = Callable[[SamplerState], Optional[Iterable[int]]]
Stage = Callable[[SamplerState, List[Candidate]], Optional[Iterable[Tuple[int, float]]]]

_CANDIDATE = struct.Struct("=if")  # samba_candidate


class Raised:
    """What a callback of its sampler has raised in a stream, whose user data this is."""

    value: Optional[BaseException] = None


class Sampler(Handle):
    """A chain of stages, then one draw. Immutable once used; then any thread may share it.

    A draw is a function of (seed, branch, position) alone, so clones, rewinds and restored sessions
    need no sampler state, and give the same tokens for the same logits everywhere.

    Stages that are given here are put in the order of the arguments; the add_ methods append more
    and return the sampler. Without any stage: a draw from the plain softmax. Where a sampler may be
    None, None is greedy.

    Args:
        repeat_penalty: > 0; positive logits divided, others multiplied; 1 is none.
        frequency_penalty: subtracted once per occurrence.
        presence_penalty: subtracted once.
        penalty_last_n: tokens of history that penalties look at; default 64.
        logit_bias: {token: bias}; -inf forbids a token.
        mask: see `add_mask`; stages of your own go in with `add_stage`.
        temperature: logits are divided by it; 0 is greedy.
        top_k: keep the k best.
        typical_p: locally typical sampling.
        top_p: keep the smallest set of best candidates whose probability reaches p.
        min_p: keep candidates of at least p times the best one's probability.
        seed: of the draw; default 0.
        context: default: `default_context()`.

    Raises:
        InvalidArgumentError: a value out of its range.
    """

    _shared = True

    def __init__(
        self,
        *,
        repeat_penalty: Optional[float] = None,
        frequency_penalty: Optional[float] = None,
        presence_penalty: Optional[float] = None,
        penalty_last_n: Optional[int] = None,
        logit_bias: Optional[Mapping[int, float]] = None,
        mask: Optional[Mask] = None,
        temperature: Optional[float] = None,
        top_k: Optional[int] = None,
        typical_p: Optional[float] = None,
        top_p: Optional[float] = None,
        min_p: Optional[float] = None,
        seed: Optional[int] = None,
        context: Optional[Context] = None,
    ) -> None:
        made = ffi.new("samba_sampler **")
        call(lib.samba_sampler_create, (context or default_context())._open(), made)
        super().__init__(made[0], lib.samba_sampler_free)
        self._callbacks: List[Any] = []
        self._raised = threading.local()
        if (repeat_penalty, frequency_penalty, presence_penalty) != (None, None, None):
            self.add_penalties(repeat_penalty, frequency_penalty, presence_penalty, penalty_last_n)
        if logit_bias is not None:
            self.add_logit_bias(logit_bias)
        if mask is not None:
            self.add_mask(mask)
        if temperature is not None:
            self.add_temperature(temperature)
        if top_k is not None:
            self._add(lib.samba_sampler_add_top_k, top_k)
        if typical_p is not None:
            self._add(lib.samba_sampler_add_typical_p, typical_p)
        if top_p is not None:
            self._add(lib.samba_sampler_add_top_p, top_p)
        if min_p is not None:
            self._add(lib.samba_sampler_add_min_p, min_p)
        if seed is not None:
            self._add(lib.samba_sampler_add_seed, seed)

    def _add(self: Self, function: Any, *arguments: Any) -> Self:
        with self._lock:
            call(function, self._open(), *arguments)
        return self

    def add_greedy(self: Self) -> Self:
        """Keep the single best token (lowest id on a tie)."""
        return self._add(lib.samba_sampler_add_greedy)

    def add_temperature(self: Self, temperature: float) -> Self:
        """Divide logits by it; 0 is greedy."""
        if temperature == 0:
            return self.add_greedy()
        return self._add(lib.samba_sampler_add_temperature, temperature)

    def add_top_k(self: Self, k: int) -> Self:
        """Keep the k best."""
        return self._add(lib.samba_sampler_add_top_k, k)

    def add_top_p(self: Self, p: float) -> Self:
        """Keep the smallest set of best candidates whose probability reaches p."""
        return self._add(lib.samba_sampler_add_top_p, p)

    def add_min_p(self: Self, p: float) -> Self:
        """Keep candidates of at least p times the best one's probability."""
        return self._add(lib.samba_sampler_add_min_p, p)

    def add_typical_p(self: Self, p: float) -> Self:
        """Locally typical sampling (arXiv 2202.00666)."""
        return self._add(lib.samba_sampler_add_typical_p, p)

    def add_penalties(
        self: Self,
        repeat: Optional[float] = None,
        frequency: Optional[float] = None,
        presence: Optional[float] = None,
        last_n: Optional[int] = None,
    ) -> Self:
        """Penalties for tokens of the history; see the class."""
        o = options(
            "samba_penalties",
            repeat=repeat,
            frequency=frequency,
            presence=presence,
            last_n=last_n,
        )
        return self._add(lib.samba_sampler_add_penalties, o)

    def add_logit_bias(self: Self, biases: Mapping[int, float]) -> Self:
        """logits[token] += bias; -inf forbids a token."""
        tokens = ffi.new("samba_token[]", list(biases.keys()))
        values = ffi.new("float[]", list(biases.values()))
        return self._add(lib.samba_sampler_add_logit_bias, tokens, values, len(biases))

    def add_mask(self: Self, mask: Mask) -> Self:
        """A grammar's hook: mask(state) gives the tokens that are allowed, None for all.

        Called for every draw, on the thread that draws; what it raises comes out of the call that
        draws.
        """

        def clear(state: Any, allowed: Any, n_vocab: int) -> int:
            kept = mask(SamplerState._of(state))
            if kept is None:
                return 0
            words = bytearray((n_vocab + 31) // 32 * 4)
            for token in kept:
                if not 0 <= token < n_vocab:
                    raise ValueError(f"the mask allows {token}, the vocabulary has {n_vocab} tokens")
                words[token >> 3] |= 1 << (token & 7)
            ffi.memmove(allowed, words, len(words))
            return 0

        return self._add_callback("samba_sampler_mask_fn", clear, lib.samba_sampler_add_mask)

    def add_stage(self: Self, stage: Stage) -> Self:
        """A stage of your own, at this place of the chain: stage(state, candidates) gives the
        (token, logit) pairs that stay, with the logits that they go on with; None: the candidates
        stay as they were. Neither are in any order.

        Called for every draw, on the thread that draws; put top_k before it where the whole
        vocabulary is not needed. What it raises comes out of the call that draws.
        """

        def keep(state: Any, candidates: Any, n: Any) -> int:
            room = ffi.buffer(candidates, n[0] * _CANDIDATE.size)
            given = [Candidate._make(pair) for pair in _CANDIDATE.iter_unpack(room)]
            kept = stage(SamplerState._of(state), given)
            if kept is None:
                return 0
            packed = b"".join([_CANDIDATE.pack(token, logit) for token, logit in kept])
            count = len(packed) // _CANDIDATE.size
            if not 1 <= count <= n[0]:
                raise ValueError(f"the stage keeps {count} of {n[0]} candidates; 1 is the least")
            ffi.memmove(candidates, packed, len(packed))
            n[0] = count
            return 0

        return self._add_callback("samba_sampler_stage_fn", keep, lib.samba_sampler_add_stage)

    def _add_callback(self: Self, kind: str, function: Any, add: Any) -> Self:
        here = self._raised  # not self: that would be a cycle

        def guarded(_user: Any, state: Any, *rest: Any) -> int:
            try:
                return int(function(state, *rest))
            except BaseException as value:
                of_stream = state.user_data
                raised = ffi.from_handle(of_stream) if of_stream else here
                raised.value = value
                return 1

        callback = ffi.callback(kind, guarded, error=1)
        self._add(add, callback, ffi.NULL, ffi.NULL)
        self._callbacks.append(callback)
        return self

    # ------------------------------------------------------------ drawing

    def draw(
        self,
        logits: Any,
        *,
        history: Sequence[int] = (),
        position: int = 0,
        branch: int = 0,
    ) -> "TokenLogprob":
        """Draws from logits of the caller's: floats, or a buffer of float32, [n_vocab].

        Penalties, masks and stages see `history`; the draw is that of (seed, branch, position).
        `Session.sample` is the same for a session's own.
        """
        from ._session import TokenLogprob

        row, past = float_array(logits), token_array(history)
        state = options(
            "samba_sampler_state",
            history=past,
            n_history=len(past),
            position=position,
            branch=branch,
        )
        token, logprob = ffi.new("samba_token *"), ffi.new("float *")
        holder = ffi.new("samba_error **")
        if lib.samba_sampler_draw(self._open(), state, row, len(row), token, logprob, holder):
            raise self._cause(take_error(holder)) from None
        return TokenLogprob(token[0], logprob[0])

    def _cause(self, error: Error) -> BaseException:
        """What a callback raised on this thread, if that is why a draw failed; else the error."""
        value: Optional[BaseException] = getattr(self._raised, "value", None)
        if value is None or not isinstance(error, CancelledError):
            return error
        self._raised.value = None
        return value


def sampler_pointer(sampler: Optional[Sampler]) -> Any:
    """For calls where NULL is greedy."""
    return ffi.NULL if sampler is None else sampler._open()
