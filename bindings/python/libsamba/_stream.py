"""Generation for asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, AsyncIterator, Dict, Optional

from ._context import Cancel
from ._errors import CancelledError

if TYPE_CHECKING:
    from ._generate import Generation, Piece
    from ._session import Prompt, Session
    from ._snapshot import Snapshot


class Stream(AsyncIterator["Piece"]):
    """The pieces of a generation, awaited. Made by `Session.stream`.

    Attributes:
        reason: why it ended, as for `Generation`; None while it goes on.
    """

    def __init__(
        self, session: "Session", prompt: Optional["Prompt"], settings: Dict[str, Any]
    ) -> None:
        self._session = session
        self._prompt = prompt
        self._settings = dict(settings)
        self._given: Optional[Cancel] = self._settings.pop("cancel", None)
        self._cancel = self._given or Cancel(session.model.context)
        self._generation: Optional["Generation"] = None
        self._undelivered: Optional["Piece"] = None
        self._before: Optional["Snapshot"] = None  # the piece being made
        self._closed = False

    @property
    def reason(self) -> Optional[str]:
        """Why it ended: "token", "length", "stop" or "closed"; None while it goes on."""
        if self._closed:
            return "closed"
        return None if self._generation is None else self._generation.reason

    def __aiter__(self) -> "Stream":
        return self

    def _next(self) -> Optional["Piece"]:
        """On a thread of the loop's executor."""
        if self._generation is None:
            self._generation = self._session.generate(
                self._prompt, cancel=self._cancel, **self._settings
            )
        if self._before is not None:
            self._before.close()
        self._before = self._session.snapshot()
        return next(self._generation, None)

    async def __anext__(self) -> "Piece":
        if self._closed:
            raise StopAsyncIteration
        piece, self._undelivered = self._undelivered, None
        if piece is not None:
            return piece
        work = asyncio.get_running_loop().run_in_executor(None, self._next)
        try:
            piece = await asyncio.shield(work)
        except asyncio.CancelledError:
            await self._abandon(work)
            raise
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def _abandon(self, work: "asyncio.Future[Optional[Piece]]") -> None:
        """The task is cancelled: waits for the step in progress, within a sublayer, and takes
        back a piece that nobody will see."""
        self._cancel.request()
        try:
            self._undelivered = await work
        except CancelledError:
            pass
        if self._given is None:
            self._cancel.reset()
        await self.aclose()

    async def aclose(self) -> None:
        """Ends the stream; the session stands after the last piece delivered."""
        if self._closed:
            return
        self._closed = True
        piece, self._undelivered = self._undelivered, None
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._take_back, piece)

    def _take_back(self, piece: Optional["Piece"]) -> None:
        if self._generation is None:
            return
        self._generation.close()
        if self._before is not None:
            if piece is not None and piece.token >= 0 and not self._session.closed:
                self._session.restore(self._before)
            self._before.close()

    async def __aenter__(self) -> "Stream":
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()
