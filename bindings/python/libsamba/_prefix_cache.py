"""Prefix caches: prompts that begin alike are read once."""

from __future__ import annotations

import os
from typing import Any, NamedTuple, Optional, Union

from . import _declarations as c
from ._context import Cancel, cancel_pointer, choice
from ._ffi import call, ffi, lib, options, text, token_array
from ._handle import Handle
from ._model import Model
from ._session import OUTPUTS, Prompt, Session

REASONS = {
    c.SAMBA_PREFIX_WHOLE: "whole",
    c.SAMBA_PREFIX_NEW: "new",
    c.SAMBA_PREFIX_NOT_STORED: "not_stored",
    c.SAMBA_PREFIX_NO_LOGITS: "no_logits",
    c.SAMBA_PREFIX_OTHER_KV_DTYPE: "other_kv_dtype",
    c.SAMBA_PREFIX_FILE_FAILED: "file_failed",
}


class PrefixReport(NamedTuple):
    """What a prompt shared with what is cached, and why not more."""

    matched: int  #: tokens that the prompt shares with something cached
    restored: int  #: of these, tokens that the session did not have to read: where it began
    replayed: int  #: tokens evaluated from there on
    stored: int  #: positions of this prompt that are now cached and were not before
    #: why `restored` is not more: "whole" (all was found), "new", "not_stored", "no_logits",
    #: "other_kv_dtype", "file_failed"
    reason: str
    explanation: str  #: the reason, for people
    exact: bool  #: state and logits are bit for bit those of reading it all
    from_file: bool  #: what was restored came from a spilled file


def make_report(r: Any) -> PrefixReport:
    return PrefixReport(
        matched=r.matched,
        restored=r.restored,
        replayed=r.replayed,
        stored=r.stored,
        reason=REASONS.get(r.reason, "unknown"),
        explanation=text(lib.samba_prefix_reason_string(r.reason)),
        exact=bool(r.exact),
        from_file=bool(r.from_file),
    )


class PrefixCacheStats(NamedTuple):
    """Figures of a prefix cache."""

    n_entries: int  #: positions held in memory
    bytes: int  #: by them together, at most max_bytes
    max_bytes: int
    n_hits: int  #: evals that restored something
    n_misses: int
    n_restored: int  #: tokens of all evals
    n_replayed: int
    n_stored: int  #: positions
    n_evicted: int
    n_files: int  #: in the spill directory, as far as known
    file_bytes: int
    n_written: int  #: positions spilled by this cache
    n_file_hits: int
    n_file_failures: int  #: files that could not be written, or not restored


class PrefixCache(Handle):
    """What sessions of a model have read before: a system prompt or a conversation so far is
    evaluated once, and sessions after that start behind it, with the same bits as if they had read
    everything.

    Holds images of sessions at several positions of each prompt; the least recently used go first.
    Keeps its model alive. Any number of threads at once; close() leaves calls in progress alone.

    Args:
        model: sessions must be of this one.
        max_bytes: state, logits and tokens of all entries; memory shared between them counts once.
            Default: 16 times the whole state of a session.
        interval: positions stored while a prompt is read: every multiple of this (default 512; 0:
            none), where the prompt leaves what is cached, and its end.
        spill_directory: a folder that exists: what no longer fits is written there as snapshot
            files, and found again, also by later processes with the same model.
        max_spill_bytes: of this model's files there; default 8 times max_bytes.

    Raises:
        NotFoundError, FileError: spill_directory.
    """

    _shared = True

    def __init__(
        self,
        model: Model,
        *,
        max_bytes: Optional[int] = None,
        interval: Optional[int] = None,
        spill_directory: Optional[Union[str, "os.PathLike[str]"]] = None,
        max_spill_bytes: Optional[int] = None,
    ) -> None:
        folder = None
        if spill_directory is not None:
            folder = ffi.new("char[]", os.fsencode(spill_directory))
        o = options(
            "samba_prefix_cache_options",
            max_bytes=max_bytes,
            interval=c.SAMBA_PREFIX_INTERVAL_NONE if interval == 0 else interval,
            spill_directory=folder,
            max_spill_bytes=max_spill_bytes,
        )
        made = ffi.new("samba_prefix_cache **")
        call(lib.samba_prefix_cache_create, model._open(), o, made)
        super().__init__(made[0], lib.samba_prefix_cache_free)
        self._model = model

    @property
    def model(self) -> Model:
        """The model that it is of."""
        return self._model

    def eval(
        self,
        session: Session,
        prompt: Prompt,
        *,
        outputs: Optional[str] = None,
        cancel: Optional[Cancel] = None,
    ) -> PrefixReport:
        """Makes the session stand where a new one would stand after reading the prompt.

        Restores the longest cached prefix, evaluates the rest, stores positions of it. Whatever the
        session held before is gone; its options stay. After a failure it stands where it stood or
        after some of the prompt, and a new try needs no preparation.

        Args:
            prompt: text or tokens, as for `Session.feed` at the first position.
            outputs: "last" (default) or "none".

        Raises:
            MismatchError: the session is of another model.
            StateError: it begins at another position than 0.
            Errors otherwise as for `Session.feed`.
        """
        if isinstance(prompt, (str, bytes)):
            prompt = self._model.tokenizer.encode(prompt)
        tokens = token_array(prompt)
        o = options(
            "samba_eval_options",
            outputs=choice("outputs", outputs, OUTPUTS),
            cancel=cancel_pointer(cancel),
        )
        r = options("samba_prefix_report")
        cache = self._open()
        with session._lock:
            at = session._open()
            call(lib.samba_prefix_cache_eval, cache, at, tokens, len(tokens), o, r)
        return make_report(r)

    def put(self, session: Session) -> None:
        """Stores where a session stands, such as after an answer, for the prompt that repeats it
        and goes on.

        Raises:
            StateError: nothing has been fed, a proposal waits, it began at another position than 0,
                or it has dropped tokens (max_history).
            LimitError: it is larger than max_bytes.
            MismatchError: it is of another model.
        """
        cache = self._open()
        with session._lock:
            call(lib.samba_prefix_cache_put, cache, session._open())

    def clear(self) -> None:
        """Forgets all entries; spilled files stay."""
        lib.samba_prefix_cache_clear(self._open())

    def flush(self) -> None:
        """Writes all entries to the spill directory that are not there yet, say before the process
        ends.

        Raises:
            StateError: there is no spill directory.
            FileError: a file could not be written.
        """
        call(lib.samba_prefix_cache_flush, self._open())

    @property
    def stats(self) -> PrefixCacheStats:
        """Entries, bytes, hits."""
        s: Any = options("samba_prefix_cache_stats")
        call(lib.samba_prefix_cache_get_stats, self._open(), s)
        return PrefixCacheStats(*(getattr(s, field) for field in PrefixCacheStats._fields))

    def __repr__(self) -> str:
        if self.closed:
            return "<PrefixCache closed>"
        stats = self.stats
        return f"<PrefixCache with {stats.n_entries} positions, {stats.bytes} bytes>"
