"""Snapshots: immutable images of sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._ffi import lib
from ._handle import Handle

if TYPE_CHECKING:
    from ._model import Model


class Snapshot(Handle):
    """Tokens, position, all state, last logits and bytes of the caller's own, of one moment.

    In memory it shares pages and slabs with its session and keeps its model alive. Made by
    `Session.snapshot`; used by `Session.restore` and `Model.session(snapshot)`, by any number of
    threads, while its session goes on elsewhere.
    """

    def __init__(self, pointer: Any, model: "Model") -> None:
        super().__init__(pointer, lib.samba_snapshot_release)
        self._model = model
