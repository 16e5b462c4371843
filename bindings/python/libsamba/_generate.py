"""Generation: drawing, feeding and delivering tokens, one per step.

A step draws a token, finds its text, and only then feeds it, so that a token which ends the
generation is never fed. While a stop string may have begun, pieces wait, and so does the session:
what waits is fed to clones, one per piece, and the session takes a clone's place when its piece
comes out. So the session stands behind the last piece that came out at any time, with history and
checkpoints, whatever was drawn ahead, and nothing is evaluated twice.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Deque, FrozenSet, Iterator, List, Optional, Sequence, Tuple, Union

from ._context import Cancel, cancel_pointer
from ._errors import InvalidArgumentError
from ._ffi import NULL, lib, options, take_error
from ._tokenizer import Detokenizer

if TYPE_CHECKING:
    from ._sampler import Sampler
    from ._session import Session, TokenLogprob


class Piece(str):
    """The text of one token: whole characters that it completes, maybe none.

    A str, and besides:
        token: its id; -1 where text that was held back (an incomplete character) ends.
        logprob: natural log of its probability in the raw distribution.
        position: where it stands.
        top: the most likely tokens there, best first, if asked for.
    """

    __slots__ = ("token", "logprob", "position", "top")

    token: int
    logprob: float
    position: int
    top: List["TokenLogprob"]


_NO_TOP: List["TokenLogprob"] = []


def make_piece(
    text: str, token: int, logprob: float, position: int, top: List["TokenLogprob"]
) -> Piece:
    piece = Piece(text)
    piece.token, piece.logprob, piece.position, piece.top = token, logprob, position, top
    return piece


class Stops:
    """Stop strings, and how much of a text may still become one: the rules and limits of
    samba_stream_options, for text that comes in whole characters."""

    MOST, LONGEST = 64, 4096

    def __init__(self, texts: Tuple[str, ...]) -> None:
        if any(not text or "\0" in text for text in texts):
            raise InvalidArgumentError("a stop string is empty or holds a zero character")
        if len(texts) > self.MOST:
            raise InvalidArgumentError(f"{len(texts)} stop strings, at most {self.MOST} are possible")
        for text in texts:
            if len(text.encode("utf-8", "surrogatepass")) > self.LONGEST:
                raise InvalidArgumentError(f"a stop string is longer than {self.LONGEST} bytes")
        self.texts = texts
        self._longest = max(map(len, texts), default=0)

    @staticmethod
    def of(stop: Union[str, Sequence[str]]) -> "Stops":
        return Stops((stop,) if isinstance(stop, str) else tuple(stop))

    def find(self, text: str) -> Optional[Tuple[int, str]]:
        """The stop string that is complete first, the longest if several are, and where it begins."""
        found = [(text.find(stop), stop) for stop in self.texts if stop in text]
        return min(found, key=lambda f: (f[0] + len(f[1]), f[0])) if found else None

    def settled(self, text: str) -> int:
        """How many characters at the front can't be part of a stop string to come."""
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            tail = text[start:]
            if any(stop.startswith(tail) for stop in self.texts):
                return start
        return len(text)


@dataclass(frozen=True)
class GenerateSettings:
    """Arguments of Session.generate."""

    sampler: Optional["Sampler"]
    max_tokens: int
    stops: Stops
    stop_tokens: FrozenSet[int]
    ignore_eos: bool
    top_logprobs: int
    branch: int
    skip_special: bool
    cancel: Optional[Cancel]

    def check(self, n_vocab: int) -> None:
        """What samba_session_generate refuses."""
        if self.max_tokens < 0:
            raise InvalidArgumentError(f"max_tokens is {self.max_tokens}")
        if not 0 <= self.top_logprobs <= 64:
            raise InvalidArgumentError(f"top_logprobs is {self.top_logprobs}, at most 64 are possible")
        for token in self.stop_tokens:
            if not 0 <= token < n_vocab:
                raise InvalidArgumentError(
                    f"a stop token is {token}, the vocabulary has {n_vocab} tokens"
                )


# A piece, and the clone that has been fed up to it; None: the session itself has.
_Made = Tuple[Piece, Any]


class Generation(Iterator[Piece]):
    """The pieces of one generation, made as they are asked for. An exception ends it.

    Attributes:
        reason: why it ended: "token" (EOS or a stop token), "length", "stop" (a stop string),
            "error", "closed"; None while it goes on.
        stop_token: the token or None; stop_text: the stop string or None.
        n_tokens: tokens that came out.
    """

    def __init__(self, session: "Session", settings: GenerateSettings) -> None:
        self.reason: Optional[str] = None
        self.stop_token: Optional[int] = None
        self.stop_text: Optional[str] = None
        self.n_tokens = 0
        self._session = session
        self._lock = session._lock
        self._sampler, self._branch = settings.sampler, settings.branch
        self._max = settings.max_tokens
        self._stops = settings.stops if settings.stops.texts else None
        self._ready: Deque[_Made] = deque()  # to come out next
        self._waiting: List[_Made] = []  # after those; a stop string may begin in them
        self._end: Optional[str] = None  # the reason, once all that is ready has come out
        self._drawn = 0
        info = session.model.info
        self._n_top = min(settings.top_logprobs, info.n_vocab)
        self._ends = settings.stop_tokens
        if not settings.ignore_eos and info.eos_token is not None:
            self._ends |= {info.eos_token}
        self._skip_special = settings.skip_special
        self._text = self._begin_text()
        self._cancel = settings.cancel  # its pointer is in the options
        self._eval: Any = options("samba_eval_options", cancel=cancel_pointer(settings.cancel))
        # What a step writes to, so that it makes nothing new.
        self._token, self._logprob, self._error = session._token, session._logprob, session._error

    def __iter__(self) -> "Generation":
        return self

    def __next__(self) -> Piece:
        with self._lock:
            try:
                if self._ready or self._waiting:
                    self._check_place()
                while not self._ready and self._end is None and self.reason is None:
                    piece = self._step()
                    if piece is not None:
                        self.n_tokens += 1
                        return piece
                if self._ready:
                    return self._deliver()
            except BaseException:
                self._close("error")
                raise
            self._close(self._end or "closed")
            raise StopIteration

    def close(self) -> None:
        """Ends it. The session stands after the last piece that came out."""
        with self._lock:
            self._close("closed")

    def __enter__(self) -> "Generation":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    # Everything below runs with the session's lock held.

    def _close(self, reason: str) -> None:
        self._ready.clear()
        self._waiting.clear()
        if self.reason is None:
            self.reason = reason
            if self._text is not None:
                self._text.close()

    def _begin_text(self) -> Optional[Detokenizer]:
        session = self._session
        if not session.model.info.has_tokenizer:
            return None
        begins = session._text_begins()
        return Detokenizer(session.model, skip_special=self._skip_special, continues=not begins)

    def _check_place(self) -> None:
        """What was drawn ahead is void if the caller has moved the session since."""
        if self._session.position == (self._ready or self._waiting)[0][0].position:
            return
        self._drawn -= sum(piece.token >= 0 for piece, _ in (*self._ready, *self._waiting))
        self._ready.clear()
        self._waiting.clear()
        self._end = self.stop_token = self.stop_text = None
        if self._text is not None:
            self._text.close()
        self._text = self._begin_text()

    def _deliver(self) -> Piece:
        piece, clone = self._ready.popleft()
        if clone is not None:
            self._session._become(clone)
        if piece.token >= 0:
            self.n_tokens += 1
        if self._end is not None and not self._ready:
            self._close(self._end)
        return piece

    def _step(self) -> Optional[Piece]:
        """Draws a token. Gives its piece if it may come out at once and the session has been fed;
        else `_ready`, `_waiting` or `_end` have changed."""
        if self._drawn >= self._max:
            self._finish("length")
            return None
        session = self._session
        at = self._waiting[-1][1] if self._waiting else session._open()
        drawn = session._draw_at(at, self._sampler, self._branch)
        if drawn in self._ends:
            self.stop_token = drawn
            self._finish("token")
            return None
        self._drawn += 1
        top = session._top_at(at, self._n_top) if self._n_top else _NO_TOP
        piece = Piece("" if self._text is None else self._text._push(drawn))
        piece.token, piece.logprob, piece.top = drawn, self._logprob[0], top
        piece.position = lib.samba_session_position(at)
        if self._stops is not None:
            return self._hold(self._stops, piece)
        self._feed(at, piece)
        return piece

    def _finish(self, reason: str) -> None:
        """What waits comes out, and the rest of an incomplete character."""
        self._ready.extend(self._waiting)
        self._waiting.clear()
        self._end = reason
        rest = "" if self._text is None else self._text.flush()
        if rest:
            at = self._ready[-1][0].position + 1 if self._ready else self._session.position
            self._ready.append((make_piece(rest, -1, 0.0, at, _NO_TOP), None))

    def _hold(self, stops: Stops, piece: Piece) -> Optional[Piece]:
        """Sees to it that no character of a stop string comes out; the piece is not fed yet."""
        waiting = self._waiting
        whole = "".join([*(made[0] for made in waiting), piece])
        found = stops.find(whole)
        if found is not None:
            self._stop(piece, *found)
            return None
        settled = stops.settled(whole)
        if not waiting and settled == len(whole):
            self._feed(self._session._open(), piece)
            return piece
        waiting.append(self._ahead(piece))
        while waiting and len(waiting[0][0]) <= settled:
            settled -= len(waiting[0][0])
            self._ready.append(waiting.pop(0))
        return None

    def _feed(self, at: Any, piece: Piece) -> None:
        self._token[0] = piece.token
        if lib.samba_session_eval(at, self._token, 1, self._eval, self._error):
            raise take_error(self._error)

    def _ahead(self, piece: Piece) -> _Made:
        """The piece, fed to a clone of where the last one stands."""
        session = self._session
        clone = session._clone_of(self._waiting[-1][1] if self._waiting else session._open())
        self._feed(clone, piece)
        return piece, clone

    def _stop(self, last: Piece, begin: int, stop: str) -> None:
        """A stop string begins at character `begin` of what waits and the last piece together."""
        self.stop_text = stop
        if begin > sum(len(piece) for piece, _ in self._waiting):
            self._waiting.append(self._ahead(last))
        for piece, clone in self._waiting:
            if begin <= 0:
                break
            cut = make_piece(piece[:begin], piece.token, piece.logprob, piece.position, piece.top)
            self._ready.append((cut, clone))
            begin -= len(piece)
        self._waiting.clear()
        self._end = "stop"
