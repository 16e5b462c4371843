"""Generation: drawing, feeding and delivering tokens, one per step.

A step draws a token, finds its text, and only then feeds it, so that a token which ends the
generation is never fed. While a stop string may have begun, pieces wait; a snapshot from before the
first of them takes the session back, exactly, if the stop string turns out to be one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Deque, FrozenSet, Iterator, List, Optional, Sequence, Tuple, Union
from collections import deque

from ._context import Cancel, cancel_pointer
from ._ffi import options
from ._tokenizer import Detokenizer

if TYPE_CHECKING:
    from ._sampler import Sampler
    from ._session import Session, TokenLogprob
    from ._snapshot import Snapshot


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
    """Stop strings, and how much of a text may still become one."""

    def __init__(self, texts: Tuple[str, ...]) -> None:
        if any(not text for text in texts):
            raise ValueError("a stop string is empty")
        self.texts = texts

    @staticmethod
    def of(stop: Union[str, Sequence[str]]) -> "Stops":
        return Stops((stop,) if isinstance(stop, str) else tuple(stop))

    def find(self, text: str) -> int:
        """Where the first stop string begins in the text, or -1."""
        found = [at for at in map(text.find, self.texts) if at >= 0]
        return min(found) if found else -1

    def settled(self, text: str) -> int:
        """How many characters at the front can't be part of a stop string to come."""
        longest = max(map(len, self.texts))
        for start in range(max(0, len(text) - longest + 1), len(text)):
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


class Generation(Iterator[Piece]):
    """The pieces of one generation, made as they are asked for.

    Attributes:
        reason: why it ended: "token" (EOS or a stop token), "length", "stop" (a stop string),
            "closed"; None while it goes on.
        stop_token: the token or None; stop_text: the stop string or None.
        n_tokens: tokens that came out.
    """

    def __init__(self, session: "Session", settings: GenerateSettings) -> None:
        self.reason: Optional[str] = None
        self.stop_token: Optional[int] = None
        self.stop_text: Optional[str] = None
        self.n_tokens = 0
        self._session = session
        self._settings = settings
        self._ready: Deque[Piece] = deque()  # to be given out
        self._waiting: List[Piece] = []  # fed; a stop string may begin in them
        self._mark: Optional["Snapshot"] = None  # before the first piece that waited
        self._since: List[Piece] = []  # fed since then
        self._drawn = 0
        info = session.model.info
        self._eos = None if settings.ignore_eos else info.eos_token
        self._text: Optional[Detokenizer] = None
        if info.has_tokenizer:
            self._text = Detokenizer(
                session.model,
                skip_special=settings.skip_special,
                continues=not session._text_begins(),
            )
        self._eval: Any = options("samba_eval_options", cancel=cancel_pointer(settings.cancel))

    def __iter__(self) -> "Generation":
        return self

    def __next__(self) -> Piece:
        ready = self._ready
        while not ready:
            if self.reason is not None:
                raise StopIteration
            with self._session._lock:
                self._step()
        piece = ready.popleft()
        if piece.token >= 0:
            self.n_tokens += 1
        return piece

    def close(self) -> None:
        """Ends it. Pieces that were not asked for are taken back: the session stands after the
        last one that came out."""
        with self._session._lock:
            left = [piece for piece in (*self._ready, *self._waiting) if piece.token >= 0]
            if left and not self._session.closed:
                self._back_to(left[0].position)
            self._ready.clear()
            self._unmark()
            self._end(self.reason or "closed")

    def __enter__(self) -> "Generation":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    # Everything below runs with the session's lock held.

    def _end(self, reason: str) -> None:
        self.reason = reason
        self._waiting.clear()
        if self._text is not None:
            self._text.close()

    def _unmark(self) -> None:
        mark, self._mark = self._mark, None
        self._since.clear()
        if mark is not None:
            mark.close()

    def _back_to(self, position: int) -> None:
        """To before the piece at `position`, which was fed since the mark."""
        if self._mark is not None:
            self._session.restore(self._mark)
            again = [piece.token for piece in self._since if piece.position < position]
            if again:
                self._session.feed(again)

    def _step(self) -> None:
        settings, session = self._settings, self._session
        if self._drawn >= settings.max_tokens:
            self._finish("length")
            return
        token = session._draw(settings.sampler, settings.branch)
        if token == self._eos or token in settings.stop_tokens:
            self.stop_token = token
            self._finish("token")
            return
        logprob = session._logprob[0]
        n_top = settings.top_logprobs
        top = session.top_logprobs(n_top) if n_top else _NO_TOP
        text = "" if self._text is None else self._text.push(token)
        position = session.position
        piece = make_piece(text, token, logprob, position, top)
        if settings.stops.texts:
            self._step_with_stops(piece)
        else:
            session._feed_drawn(self._eval)
            self._ready.append(piece)
        self._drawn += 1

    def _finish(self, reason: str) -> None:
        """What waits comes out, and the rest of an incomplete character."""
        self._ready.extend(self._waiting)
        rest = "" if self._text is None else self._text.flush()
        if rest:
            self._ready.append(make_piece(rest, -1, 0.0, self._session.position, _NO_TOP))
        self._end(reason)

    def _step_with_stops(self, piece: Piece) -> None:
        stops, session = self._settings.stops, self._session
        if not self._waiting:
            self._unmark()
        pieces = [*self._waiting, piece]
        whole = "".join(pieces)
        at = stops.find(whole)
        if at >= 0:
            self._stop(pieces, at)
            return
        settled = stops.settled(whole) == len(whole)
        if not settled and self._mark is None:
            self._mark = session.snapshot()
        self._feed(piece)
        if settled:
            self._ready.extend(pieces)
            self._waiting.clear()
        else:
            self._waiting = pieces

    def _feed(self, piece: Piece) -> None:
        self._session._token[0] = piece.token
        self._session._feed_drawn(self._eval)
        self._since.append(piece)

    def _stop(self, pieces: List[Piece], at: int) -> None:
        """A stop string begins at character `at` of the pieces, of which the last is not fed."""
        text = "".join(pieces)
        self.stop_text = next(s for s in self._settings.stops.texts if text.startswith(s, at))
        last = pieces[-1]
        for piece in pieces:
            if at <= 0:
                break
            cut = make_piece(piece[:at], piece.token, piece.logprob, piece.position, piece.top)
            self._ready.append(cut)
            at -= len(piece)
        end = self._ready[-1].position + 1 if self._ready else pieces[0].position
        if end > last.position:
            self._feed(last)
        elif end < last.position:
            self._back_to(end)
        self._end("stop")
