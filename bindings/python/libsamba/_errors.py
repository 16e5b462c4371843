"""Exceptions, one per status of the library.

Catch `Error` for all. Where Python has an exception for the kind of failure, that is a base too:
`OutOfMemoryError` is a MemoryError, `FileError` an OSError, and so on. What goes wrong with a model
or a snapshot file is also a `ModelError` or `SnapshotError`.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple, Type

from . import _declarations as c


class Error(Exception):
    """Anything that the library refuses or fails to do; it leaves every object usable.

    Attributes:
        message: one line that names the thing and, where two disagree, both values.
        status: the number that the C library gave (SAMBA_ERROR_...).
        file: the file concerned, or None.
        tensor: the tensor concerned, or None.
        offset: byte offset in the file, or None.
    """

    default_status = 0

    def __init__(
        self,
        message: str,
        *,
        status: Optional[int] = None,
        file: Optional[str] = None,
        tensor: Optional[str] = None,
        offset: Optional[int] = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = self.default_status if status is None else status
        self.file = file
        self.tensor = tensor
        self.offset = offset

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> Tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.status, self.file, self.tensor, self.offset))


def _rebuild(
    cls: Type[Error],
    message: str,
    status: int,
    file: Optional[str],
    tensor: Optional[str],
    offset: Optional[int],
) -> Error:
    return cls(message, status=status, file=file, tensor=tensor, offset=offset)


class ModelError(Error):
    """A model could not be loaded, converted or estimated."""


class SnapshotError(Error):
    """A snapshot could not be read or restored."""


class InvalidArgumentError(Error, ValueError):
    """A documented rule was broken by the caller."""

    default_status = c.SAMBA_ERROR_INVALID_ARGUMENT


class OutOfMemoryError(Error, MemoryError):
    """There is no memory left."""

    default_status = c.SAMBA_ERROR_OUT_OF_MEMORY


class FileError(Error, OSError):
    """A file could not be opened, read or written."""

    default_status = c.SAMBA_ERROR_IO


class FormatError(Error, ValueError):
    """A file is malformed, truncated or hostile."""

    default_status = c.SAMBA_ERROR_FORMAT


class UnsupportedError(Error, NotImplementedError):
    """Well-formed, but nothing that this build can run."""

    default_status = c.SAMBA_ERROR_UNSUPPORTED


class MismatchError(Error, ValueError):
    """Two things that must agree do not: config and tensor, snapshot and model, ..."""

    default_status = c.SAMBA_ERROR_MISMATCH


class LimitError(Error, ValueError):
    """Larger than a stated limit."""

    default_status = c.SAMBA_ERROR_LIMIT


class StateError(Error):
    """The object is not in a state in which the call makes sense, or is closed."""

    default_status = c.SAMBA_ERROR_STATE


class BusyError(Error):
    """The object is in use elsewhere."""

    default_status = c.SAMBA_ERROR_BUSY


class CancelledError(Error):
    """A `Cancel` or a callback asked for the end."""

    default_status = c.SAMBA_ERROR_CANCELLED


class BackendError(Error):
    """A compute device failed."""

    default_status = c.SAMBA_ERROR_BACKEND


class NotFoundError(Error, LookupError):
    """There is no such thing."""

    default_status = c.SAMBA_ERROR_NOT_FOUND


class InternalError(Error):
    """A bug in the library; please report it."""

    default_status = c.SAMBA_ERROR_INTERNAL


_BY_STATUS: Dict[int, Type[Error]] = {
    cls.default_status: cls
    for cls in (
        InvalidArgumentError,
        OutOfMemoryError,
        FileError,
        FormatError,
        UnsupportedError,
        MismatchError,
        LimitError,
        StateError,
        BusyError,
        CancelledError,
        BackendError,
        NotFoundError,
        InternalError,
    )
}


class ModelFileError(ModelError, FileError):
    """A model's file could not be opened or read."""


class ModelFormatError(ModelError, FormatError):
    """A model's file is malformed, truncated or hostile."""


class ModelUnsupportedError(ModelError, UnsupportedError):
    """The model is nothing that this build can run."""


class ModelMismatchError(ModelError, MismatchError):
    """The model's files disagree with each other."""


class SnapshotFileError(SnapshotError, FileError):
    """A snapshot could not be opened, read or written."""


class SnapshotFormatError(SnapshotError, FormatError):
    """A snapshot is malformed, truncated or hostile."""


class SnapshotUnsupportedError(SnapshotError, UnsupportedError):
    """The snapshot needs what this build lacks."""


class SnapshotMismatchError(SnapshotError, MismatchError):
    """The snapshot is of another model, tokenizer or type of keys and values."""


_BY_FAMILY: Dict[Tuple[type, int], Type[Error]] = {
    (family, cls.default_status): cls
    for family, classes in (
        (ModelError, (ModelFileError, ModelFormatError, ModelUnsupportedError, ModelMismatchError)),
        (
            SnapshotError,
            (
                SnapshotFileError,
                SnapshotFormatError,
                SnapshotUnsupportedError,
                SnapshotMismatchError,
            ),
        ),
    )
    for cls in classes
}


def error_class(status: int, family: Optional[type] = None) -> Type[Error]:
    """The exception for a status, as a `family` (ModelError, SnapshotError) where there is one."""
    plain = _BY_STATUS.get(status, InternalError)
    return plain if family is None else _BY_FAMILY.get((family, status), plain)
