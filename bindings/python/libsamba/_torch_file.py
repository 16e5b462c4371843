"""Tensors of a file that torch.save wrote, without torch and without pickle.

The pickle in the file is read opcode by opcode, and the few opcodes that state dicts need build
plain values here; a class or function is never looked up, let alone called. The four names that
torch writes for tensors stand for themselves; any other name, and any other opcode, is refused.
"""

from __future__ import annotations

import pickletools
import zipfile
from typing import Any, BinaryIO, Dict, Iterator, List, NamedTuple, Tuple

from ._errors import ModelFormatError, ModelUnsupportedError

MAX_PICKLE = 256 << 20
MAX_DIMENSIONS = 8
CHUNK = 1 << 20


class ElementType(NamedTuple):
    """Of a storage: the name that safetensors has for it, and bytes per element."""

    name: str
    size: int


STORAGES: Dict[str, ElementType] = {
    "FloatStorage": ElementType("F32", 4),
    "HalfStorage": ElementType("F16", 2),
    "BFloat16Storage": ElementType("BF16", 2),
    "DoubleStorage": ElementType("F64", 8),
    "LongStorage": ElementType("I64", 8),
    "IntStorage": ElementType("I32", 4),
    "ShortStorage": ElementType("I16", 2),
    "CharStorage": ElementType("I8", 1),
    "ByteStorage": ElementType("U8", 1),
    "BoolStorage": ElementType("BOOL", 1),
}


class Storage(NamedTuple):
    """Elements in the file, to which tensors are views."""

    key: str
    type: ElementType
    numel: int


class Tensor(NamedTuple):
    """A view of a storage; checked to lie inside it."""

    storage: Storage
    offset: int
    shape: Tuple[int, ...]
    strides: Tuple[int, ...]

    @property
    def numel(self) -> int:
        n = 1
        for size in self.shape:
            n *= size
        return n

    @property
    def nbytes(self) -> int:
        return self.numel * self.storage.type.size

    @property
    def contiguous(self) -> bool:
        expected = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides)):
            if size != 1 and stride != expected:
                return False
            expected *= size
        return True


class _Name(NamedTuple):
    """A global that the pickle names."""

    module: str
    name: str


_DICT = _Name("collections", "OrderedDict")
_TENSOR = _Name("torch._utils", "_rebuild_tensor_v2")
_PARAMETER = _Name("torch._utils", "_rebuild_parameter")
_MARK = object()
_CONSTANTS: Dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset(
    "BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE".split()
)
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Reader:
    """A stack machine for the opcodes of state dicts."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.stack: List[Any] = []
        self.memo: Dict[int, Any] = {}

    def fail(self, message: str) -> ModelFormatError:
        return ModelFormatError(f"{self.file}: {message}", file=self.file)

    def read(self, data: bytes) -> Any:
        try:
            for opcode, argument, _position in pickletools.genops(data):
                if opcode.name == "STOP":
                    return self.stack.pop()
                self.step(opcode.name, argument)
        except (IndexError, KeyError, TypeError) as error:
            raise self.fail(f"the pickle does not fit together ({error!r})") from None
        except ValueError as error:
            if isinstance(error, ModelFormatError):
                raise
            raise self.fail(f"the pickle is damaged ({error})") from None
        raise self.fail("the pickle has no end")

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            stack.append(argument)
        elif name in _TUPLES:
            n = _TUPLES[name]
            if n > len(stack):
                raise IndexError("tuple")
            stack[len(stack) - n :] = [tuple(stack[len(stack) - n :])]
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "TUPLE":
            stack.append(tuple(self.pop_mark()))
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "APPEND":
            value = stack.pop()
            self.list_at_top().append(value)
        elif name == "APPENDS":
            values = self.pop_mark()
            self.list_at_top().extend(values)
        elif name == "SETITEM":
            value = stack.pop()
            self.set_items([stack.pop(), value])
        elif name == "SETITEMS":
            self.set_items(self.pop_mark())
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "GLOBAL":
            stack.append(self.known_name(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute = stack.pop()
            stack.append(self.known_name(stack.pop(), attribute))
        elif name == "BINPERSID":
            stack.append(self.storage(stack.pop()))
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append(self.build(stack.pop(), arguments))
        elif name == "BUILD":
            stack.pop()  # attributes of an OrderedDict: versions of modules
            if type(stack[-1]) is not dict:
                raise self.fail("the pickle sets the state of something that is no dict")
        elif name not in ("PROTO", "FRAME"):
            raise self.fail(f"the pickle has opcode {name}, which tensors do not need")

    def pop_mark(self) -> List[Any]:
        for at in range(len(self.stack) - 1, -1, -1):
            if self.stack[at] is _MARK:
                values = self.stack[at + 1 :]
                del self.stack[at:]
                return values
        raise IndexError("no mark")

    def list_at_top(self) -> List[Any]:
        if type(self.stack[-1]) is not list:
            raise TypeError("append to what is no list")
        found: List[Any] = self.stack[-1]
        return found

    def set_items(self, values: List[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(values) % 2:
            raise TypeError("items for what is no dict")
        for key, value in zip(values[::2], values[1::2]):
            if type(key) not in (str, int):
                raise TypeError(f"a key of type {type(key).__name__}")
            target[key] = value

    def known_name(self, module: Any, name: Any) -> _Name:
        found = _Name(module, name)
        if found in (_DICT, _TENSOR, _PARAMETER) or (module == "torch" and name in STORAGES):
            return found
        raise self.fail(f"the pickle names {module}.{name}, which is no tensor: refused")

    def storage(self, pid: Any) -> Storage:
        """From ('storage', type, key, device, numel)."""
        kind, type_name, key, _device, numel = pid
        if kind != "storage" or type(type_name) is not _Name or type_name.module != "torch":
            raise TypeError("a persistent id that is no storage")
        if type(key) is not str or type(numel) is not int or numel < 0:
            raise TypeError("a storage without key and length")
        return Storage(key, STORAGES[type_name.name], numel)

    def build(self, name: Any, arguments: Any) -> Any:
        if name == _DICT and arguments == ():
            return {}
        if name == _PARAMETER and type(arguments) is tuple and type(arguments[0]) is Tensor:
            return arguments[0]
        if name == _TENSOR and type(arguments) is tuple:
            return self.tensor(*arguments[:4])
        raise TypeError("a call that makes no tensor")

    def tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
        if type(storage) is not Storage or type(shape) is not tuple or type(strides) is not tuple:
            raise TypeError("a tensor without storage, shape and strides")
        numbers = (offset, *shape, *strides)
        if any(type(n) is not int or n < 0 for n in numbers) or len(shape) != len(strides):
            raise TypeError("a tensor whose shape is none")
        tensor = Tensor(storage, offset, shape, strides)
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides))
        numel = tensor.numel
        if len(shape) > MAX_DIMENSIONS or numel > storage.numel or (numel and last >= storage.numel):
            raise self.fail(
                f"a tensor of shape {shape}, strides {strides} at {offset} is outside its storage "
                f"of {storage.numel} elements"
            )
        return tensor


class TorchFile:
    """A file of torch.save: `value` is what was saved, with `Tensor` in place of tensors."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._raw: BinaryIO = open(path, "rb")
        try:
            self._zip = self._open_zip()
            self.value = _Reader(path).read(self._pickle())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._raw.close()

    def __enter__(self) -> "TorchFile":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def fail(self, message: str) -> ModelFormatError:
        return ModelFormatError(f"{self.path}: {message}", file=self.path)

    def _open_zip(self) -> zipfile.ZipFile:
        if self._raw.read(4) != b"PK\3\4":
            raise ModelUnsupportedError(
                f"{self.path}: no zip file; torch.save writes one since version 1.6",
                file=self.path,
            )
        size = self._raw.seek(0, 2)
        self._raw.seek(0)
        try:
            found = zipfile.ZipFile(self._raw)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
            raise self.fail(f"the zip file is damaged ({error})") from None
        names = found.namelist()
        if len(set(names)) != len(names):
            raise self.fail("the zip file has two entries of one name")
        for entry in found.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise self.fail(f"entry {entry.filename} is compressed or encrypted")
            if entry.file_size != entry.compress_size or entry.file_size > size:
                raise self.fail(f"entry {entry.filename} is larger than the file")
        return found

    def _pickle(self) -> bytes:
        names = [n for n in self._zip.namelist() if n.endswith("/data.pkl") and n.count("/") == 1]
        if len(names) != 1:
            raise self.fail("no data.pkl in the zip file, or several")
        self._prefix = names[0][: -len("data.pkl")]
        order = self._prefix + "byteorder"
        if order in self._zip.namelist() and self._read(order, 64) != b"little":
            raise ModelUnsupportedError(f"{self.path}: not little-endian", file=self.path)
        return self._read(names[0], MAX_PICKLE)

    def _read(self, name: str, most: int) -> bytes:
        if self._zip.getinfo(name).file_size > most:
            raise self.fail(f"entry {name} is larger than {most} bytes")
        try:
            return self._zip.read(name)
        except (zipfile.BadZipFile, EOFError, OSError) as error:
            raise self.fail(f"entry {name} is damaged ({error})") from None

    def chunks(self, tensor: Tensor) -> Iterator[bytes]:
        """The bytes of a tensor in row-major order; memory for one chunk, or for the storage where
        the tensor is not contiguous in it."""
        storage, size = tensor.storage, tensor.storage.type.size
        name = f"{self._prefix}data/{storage.key}"
        try:
            entry = self._zip.getinfo(name)
        except KeyError:
            raise self.fail(f"there is no entry {name}") from None
        if entry.file_size != storage.numel * size:
            raise self.fail(
                f"entry {name} has {entry.file_size} bytes, {storage.numel} elements of "
                f"{size} are expected"
            )
        try:
            if tensor.contiguous:
                yield from self._run(name, tensor.offset * size, tensor.nbytes)
            else:
                yield from _gather(self._zip.read(name), tensor)
        except (zipfile.BadZipFile, EOFError, OSError) as error:
            raise self.fail(f"entry {name} is damaged ({error})") from None

    def _run(self, name: str, offset: int, left: int) -> Iterator[bytes]:
        with self._zip.open(name) as stream:
            stream.seek(offset)
            while left:
                data = stream.read(min(left, CHUNK))
                if not data:
                    raise EOFError("it ends early")
                left -= len(data)
                yield data


def _gather(data: bytes, tensor: Tensor) -> Iterator[bytes]:
    """The last dimension at a time."""
    if not tensor.numel:
        return
    formats = {1: "B", 2: "H", 4: "I", 8: "Q"}
    view: Any = memoryview(data)
    view = view.cast(formats[tensor.storage.type.size])
    *outer, n = tensor.shape
    *steps, stride = tensor.strides
    index = [0] * len(outer)
    while True:
        start = tensor.offset + sum(i * s for i, s in zip(index, steps))
        row = view[start : start + (n - 1) * stride + 1 : stride] if stride else view[start:][:1]
        yield row.tobytes()
        for d in range(len(outer) - 1, -1, -1):
            index[d] += 1
            if index[d] < outer[d]:
                break
            index[d] = 0
        else:
            return
