"""Contexts: threads, memory and log that models share; and requests to cancel."""

from __future__ import annotations

import os
import threading
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from . import _declarations as c
from ._ffi import NULL, call, ffi, lib, options, text
from ._handle import Handle

CPU_TIERS: Dict[str, int] = {
    "reference": c.SAMBA_CPU_REFERENCE,
    "avx2": c.SAMBA_CPU_AVX2,
    "avx512": c.SAMBA_CPU_AVX512,
    "avx512-vnni": c.SAMBA_CPU_AVX512_VNNI,
    "avx512-bf16": c.SAMBA_CPU_AVX512_BF16,
    "neon": c.SAMBA_CPU_NEON,
    "neon-dotprod": c.SAMBA_CPU_NEON_DOTPROD,
}
LOG_LEVELS: Dict[str, int] = {
    "error": c.SAMBA_LOG_ERROR,
    "warning": c.SAMBA_LOG_WARNING,
    "info": c.SAMBA_LOG_INFO,
    "debug": c.SAMBA_LOG_DEBUG,
}
_LEVEL_NAMES = {number: name for name, number in LOG_LEVELS.items()}


def choice(what: str, value: Optional[str], known: Dict[str, int]) -> Optional[int]:
    """The number that `value` stands for; None stays None."""
    if value is None:
        return None
    if value not in known:
        raise ValueError(f"{what} is {value!r}, known are {', '.join(known)}")
    return known[value]


class ProfileEntry(NamedTuple):
    """Time spent in one kind of work."""

    name: str
    calls: int
    seconds: float


class Context(Handle):
    """What models share: compute threads, and where log lines go. Models keep it alive.

    One pass at a time uses a context's threads; for passes side by side make several contexts, or
    batch. Any thread may use it.

    Args:
        threads: threads per pass, the caller's included; default: physical cores.
        cpu_tier: "reference", "avx2", "avx512", "avx512-vnni", "avx512-bf16", "neon" or
            "neon-dotprod"; default: the best that the machine has.
        profile: count where passes spend their time, see `profile`.
        log: called as log(level, message) with level "error", "warning", "info" or "debug", from
            any thread. What it raises is lost.
        log_level: most detailed level delivered; default "warning".

    Raises:
        UnsupportedError: the machine or the build lacks the tier.
    """

    _shared = True

    def __init__(
        self,
        *,
        threads: Optional[int] = None,
        cpu_tier: Optional[str] = None,
        profile: bool = False,
        log: Optional[Callable[[str, str], object]] = None,
        log_level: Optional[str] = None,
    ) -> None:
        o = options(
            "samba_context_options",
            n_threads=threads,
            cpu_tier=choice("cpu_tier", cpu_tier, CPU_TIERS),
            log_level=choice("log_level", log_level, LOG_LEVELS),
            profile=c.SAMBA_YES if profile else None,
        )
        self._log_callback: Any = None
        if log is not None:
            function = log

            def deliver(_user: Any, level: int, message: Any) -> None:
                function(_LEVEL_NAMES.get(level, "info"), text(message))

            self._log_callback = ffi.callback(
                "samba_log_fn", deliver, onerror=lambda *exception: None
            )
            o.log = self._log_callback
        made = ffi.new("samba_context **")
        call(lib.samba_context_create, o, made)
        super().__init__(made[0], lib.samba_context_free)

    @property
    def profile(self) -> List[ProfileEntry]:
        """Where passes spent their time; [] unless made with profile=True."""
        n = ffi.new("size_t *")
        size = ffi.sizeof("samba_profile_entry")
        with self._lock:
            room = ffi.new("samba_profile_entry[]", 128)
            call(lib.samba_context_get_profile, self._open(), room, 128, size, n)
        return [
            ProfileEntry(text(e.name), e.calls, e.seconds) for e in room[0 : min(128, int(n[0]))]
        ]

    def reset_profile(self) -> None:
        """Starts counting anew."""
        with self._lock:
            lib.samba_context_reset_profile(self._open())


_default: Optional[Context] = None
_default_lock = threading.Lock()
_of_parents: List[Optional[Context]] = []


def default_context() -> Context:
    """The context of models that name none: made when first needed, one per process."""
    global _default
    with _default_lock:
        if _default is None or _default.closed:
            _default = Context()
        return _default


def _after_fork() -> None:
    """A child has none of its parent's threads: it gets a context of its own."""
    global _default, _default_lock
    _of_parents.append(_default)  # never freed: its threads could not be joined
    _default = None
    _default_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Cancel(Handle):
    """A sticky request to end calls early. Hand it to any number of calls; each raises
    `CancelledError` soon after request(), which any thread may call."""

    _shared = True

    def __init__(self, context: Optional[Context] = None) -> None:
        made = ffi.new("samba_cancel **")
        call(lib.samba_cancel_create, (context or default_context())._open(), made)
        super().__init__(made[0], lib.samba_cancel_free)

    def request(self) -> None:
        """Ends the calls that it was handed to."""
        lib.samba_cancel_request(self._open())

    def reset(self) -> None:
        """Makes it usable again, while no call uses it."""
        lib.samba_cancel_reset(self._open())


def cancel_pointer(cancel: Optional[Cancel]) -> Any:
    """For the `cancel` field of options."""
    return NULL if cancel is None else cancel._open()
