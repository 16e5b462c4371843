"""Objects of the library: freed once, by close(), `with`, or the garbage collector."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Optional, Type, TypeVar

from ._errors import StateError
from ._ffi import ffi

Self = TypeVar("Self", bound="Handle")


class Handle:
    """Owns one object of the C library.

    close() may be called any number of times, from any thread: it waits for a call in progress,
    or, where several threads use an object at once, leaves it to the last of their calls. Using a closed object raises `StateError`. What an object needs (a session its model) is kept
    alive by the C library's own references, so the order in which objects go does not matter.
    """

    # Of objects that several threads use at once: calls in progress hold the pointer, and it is
    # freed when no one does.
    _shared = False

    def __init__(self, pointer: Any, free: Any) -> None:
        self._lock = threading.RLock()
        self._pointer: Optional[Any] = ffi.gc(pointer, free)

    @property
    def closed(self) -> bool:
        """Whether close() has been called."""
        return self._pointer is None

    def close(self) -> None:
        """Frees the object now. Calling it again does nothing."""
        with self._lock:
            pointer, self._pointer = self._pointer, None
            if pointer is not None and not self._shared:
                ffi.release(pointer)

    def _open(self) -> Any:
        """The pointer; call it with the lock held, unless the object is shared."""
        if self._pointer is None:
            raise StateError(f"the {type(self).__name__.lower()} is closed")
        return self._pointer

    def __enter__(self: Self) -> Self:
        self._open()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()
