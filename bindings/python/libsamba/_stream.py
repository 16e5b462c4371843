"""Streams: generation on the library's own thread, read by asyncio or by any thread.

All streams of a model share passes. The library signals that there is something to take through a
callback that only wakes the event loop. Streams that are alive when the interpreter ends are closed
before that, for no callback may come later.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from typing import TYPE_CHECKING, Any, AsyncIterator, List, Optional, Sequence, Union

from . import _declarations as c
from ._errors import InvalidArgumentError, error_class
from ._ffi import call, ffi, lib, options, switch, token_array
from ._generate import Piece, Stops, make_piece
from ._handle import Handle
from ._sampler import Raised, Sampler, sampler_pointer
from ._snapshot import Snapshot

if TYPE_CHECKING:
    import asyncio

    from ._prefix_cache import PrefixCache, PrefixReport
    from ._session import Prompt, Session

_REASONS = {
    c.SAMBA_STOP_TOKEN: "token",
    c.SAMBA_STOP_LENGTH: "length",
    c.SAMBA_STOP_STRING: "stop",
    c.SAMBA_STOP_CANCELLED: "cancelled",
    c.SAMBA_STOP_DEADLINE: "deadline",
    c.SAMBA_STOP_ERROR: "error",
}
_POLL_MS = 100  # how long a blocking wait keeps signals (Ctrl-C) waiting

_live: "weakref.WeakSet[Stream]" = weakref.WeakSet()


@atexit.register
def _close_live() -> None:
    for stream in list(_live):
        stream.close()


class Stream(Handle, AsyncIterator[Piece]):
    """The pieces of a generation that runs on its own. Made by `Session.stream`.

    `async for` in asyncio, `for` on any thread; one reader at a time. It starts when it is made.
    The session follows what was delivered, and is the stream's (`BusyError`) until the last piece
    or close().

    Attributes:
        reason: why it ended: "token", "length", "stop", "deadline", "cancelled"; None before.
        stop_token, stop_text: with "token" and "stop".
        n_tokens: tokens delivered.
    """

    def __init__(
        self,
        session: "Session",
        prompt: Optional["Prompt"],
        *,
        sampler: Optional[Sampler] = None,
        max_tokens: Optional[int] = None,
        stop: Union[str, Sequence[str]] = (),
        stop_tokens: Sequence[int] = (),
        ignore_eos: bool = False,
        top_logprobs: int = 0,
        branch: int = 0,
        skip_special: bool = True,
        deadline: Optional[float] = None,
        priority: Optional[int] = None,
        queue_depth: Optional[int] = None,
        prefix_cache: Optional["PrefixCache"] = None,
    ) -> None:
        self.reason: Optional[str] = None
        self.stop_token: Optional[int] = None
        self.stop_text: Optional[str] = None
        self.n_tokens = 0
        if max_tokens == 0:  # which is the default's number in C
            raise InvalidArgumentError("max_tokens is 0, a stream gives one at least")
        self._stops = Stops.of(stop).texts
        self._raised = Raised()
        self._cache = prefix_cache
        self._report: Optional["PrefixReport"] = None  # once it has ended
        self._loop: Optional["asyncio.AbstractEventLoop"] = None
        self._ready: Optional["asyncio.Event"] = None
        self._event: Any = options("samba_stream_event")
        itself = weakref.ref(self)

        def wake(_user: object) -> None:
            stream = itself()
            if stream is not None:
                stream._wake()

        self._on_ready: Any = ffi.callback("samba_ready_fn", wake)
        texts = [ffi.new("char[]", text.encode()) for text in self._stops]
        strings = ffi.new("char *[]", texts) if texts else None
        tokens = ffi.new("samba_token[]", list(stop_tokens)) if stop_tokens else None
        raised = ffi.new_handle(self._raised)
        o = options(
            "samba_stream_options",
            max_tokens=max_tokens,
            stop_tokens=tokens,
            n_stop_tokens=len(stop_tokens),
            ignore_eos=switch(ignore_eos or None),
            top_logprobs=top_logprobs,
            branch=branch,
            skip_special=switch(skip_special),
            stop_strings=strings,
            n_stop_strings=len(texts),
            deadline_ms=None if deadline is None else max(1, int(deadline * 1000)),
            priority=priority,
            queue_depth=queue_depth,
            on_ready=self._on_ready,
            user_data=raised,
            prefix_cache=None if prefix_cache is None else prefix_cache._open(),
        )
        kept: Any = None
        if isinstance(prompt, (str, bytes)):
            raw = prompt.encode("utf-8", "surrogatepass") if isinstance(prompt, str) else prompt
            kept = ffi.from_buffer("char[]", raw)
            o.text, o.text_size = kept, len(raw)
        elif prompt is not None:
            kept = token_array(prompt)
            o.prompt, o.n_prompt = kept, len(kept)
        made = ffi.new("samba_stream **")
        with session._lock:
            call(lib.samba_stream_start, session._open(), sampler_pointer(sampler), o, made)
        needed = (self._on_ready, sampler, raised)  # of callbacks, must outlive the stream

        def close(pointer: Any, _needed: object = needed) -> None:
            lib.samba_stream_close(pointer)

        super().__init__(made[0], close)
        self._session = session
        self._gate = threading.RLock()  # against close(), of calls that go beside a waiting reader
        _live.add(self)

    def _wake(self) -> None:
        """On a thread of the library."""
        loop, ready = self._loop, self._ready
        if loop is not None and ready is not None:
            try:
                loop.call_soon_threadsafe(ready.set)
            except RuntimeError:  # the loop is closed
                pass

    # ------------------------------------------------------------ taking

    def _take(self, timeout_ms: int) -> Optional[Piece]:
        """A piece, or None if there is none yet. StopIteration at the end."""
        e = self._event
        with self._lock:
            if self.reason is not None or self._pointer is None:
                raise StopIteration
            if timeout_ms:
                call(lib.samba_stream_next, self._open(), timeout_ms, e)
            else:
                call(lib.samba_stream_try_next, self._open(), e)
            if e.kind == c.SAMBA_STREAM_NOTHING:
                return None
            text = bytes(ffi.buffer(e.text, e.text_size)).decode("utf-8", "replace")
            if e.kind == c.SAMBA_STREAM_TOKEN:
                self.n_tokens += 1
                return make_piece(text, e.token, e.logprob, e.position, self._top(e))
            return self._end(e, text)

    @staticmethod
    def _top(e: Any) -> List[Any]:
        from ._session import TokenLogprob

        return [TokenLogprob(t.token, t.logprob) for t in e.top[0 : e.n_top]] if e.n_top else []

    def _end(self, e: Any, rest: str) -> Piece:
        self.reason = _REASONS.get(e.reason, "error")
        self.stop_token = e.stop_token if e.stop_token >= 0 else None
        self.stop_text = self._stops[e.stop_string] if e.stop_string >= 0 else None
        error = None
        if e.reason == c.SAMBA_STOP_ERROR:
            message = bytes(ffi.string(e.message)).decode("utf-8", "replace")
            error = error_class(e.status)(message, status=e.status)
        position = e.position
        if self._cache is not None:
            self._report = self._get_report()
        self.close()
        if error is not None:
            raise self._raised.value or error from None
        if not rest:
            raise StopIteration
        return make_piece(rest, -1, 0.0, position, [])

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> Piece:
        while True:
            piece = self._take(_POLL_MS)
            if piece is not None:
                return piece

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Piece:
        import asyncio  # here, for it takes a fifth of the time that this package takes

        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._ready = loop, asyncio.Event()
        ready = self._ready
        assert ready is not None
        while True:
            ready.clear()
            try:
                piece = self._take(0)
            except StopIteration:
                raise StopAsyncIteration from None
            if piece is not None:
                return piece
            try:
                await ready.wait()
            except asyncio.CancelledError:
                self.close()
                raise

    # ------------------------------------------------------------ ending

    def close(self) -> None:
        """Ends it; the session stands after the last piece delivered. Again: nothing."""
        _live.discard(self)
        with self._lock, self._gate:
            super().close()
            if self.reason is None:
                self.reason = "cancelled"

    def cancel(self) -> None:
        """Drops what is not delivered and ends it, without waiting: reading goes on to the end,
        with reason "cancelled". Any thread."""
        with self._gate:
            if self._pointer is not None:
                lib.samba_stream_cancel(self._pointer)

    def suspend(self) -> "Snapshot":
        """Stops it for now, frees memory ahead of the session, and gives where that stands.

        It waits for `resume`, and a reader with it; `deadline` runs on. A stream started from the
        snapshot with the same sampler and branch gives the tokens that this one would have given.
        Any thread.

        Raises:
            StateError: it has ended, or is suspended.
        """
        made = ffi.new("samba_snapshot **")
        with self._gate:
            call(lib.samba_stream_suspend, self._open(), made)
        return Snapshot(made[0], self._session.model)

    def resume(self) -> None:
        """Goes on after the last piece delivered. Any thread.

        Raises:
            StateError: it is not suspended.
        """
        with self._gate:
            call(lib.samba_stream_resume, self._open())

    @property
    def prefix_report(self) -> "PrefixReport":
        """What its prefix cache had for the session's tokens and the prompt together; `stored`
        grows until the prompt has been read. Any thread.

        Raises:
            StateError: it was started without a cache, or closed before its end.
        """
        with self._gate:
            return self._report or self._get_report()

    def _get_report(self) -> "PrefixReport":
        from ._prefix_cache import make_report  # which needs this module

        r = options("samba_prefix_report")
        call(lib.samba_stream_get_prefix_report, self._open(), r)
        return make_report(r)

    async def aclose(self) -> None:
        """close(), for `contextlib.aclosing`. Waits for a layer at most."""
        self.close()

    async def __aenter__(self) -> "Stream":
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self.close()

