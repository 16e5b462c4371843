"""convert_pth: what torch wrote comes out bit for bit; hostile pickles are refused."""

import hashlib
import io
import json
import os
import pathlib
import pickle
import zipfile
from typing import Any, Dict, Optional

import pytest

import libsamba as samba
from libsamba._torch_file import TorchFile
from libsamba.convert_pth import CONFIGS, convert_pth, main

DATA = pathlib.Path(__file__).resolve().parent / "data"
WANTED = json.loads((DATA / "checkpoint.json").read_text())
CONFIG = WANTED["config"]
TYPES = {"F32": "torch.float32", "F16": "torch.float16", "BF16": "torch.bfloat16"}


def read_safetensors(path: pathlib.Path) -> Dict[str, Any]:
    raw = path.read_bytes()
    n = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + n])
    header.pop("__metadata__")
    data = raw[8 + n :]
    return {
        name: (e["dtype"], e["shape"], data[slice(*e["data_offsets"])]) for name, e in header.items()
    }


def test_what_torch_wrote(tmp_path: pathlib.Path) -> None:
    report = convert_pth(DATA / "checkpoint.pth", tmp_path / "out", CONFIG)
    found = read_safetensors(tmp_path / "out" / "model.safetensors")
    assert set(found) == set(WANTED["tensors"]) and report.n_tensors == len(found)
    for name, (dtype, shape, data) in found.items():
        wanted = WANTED["tensors"][name]
        assert (TYPES[dtype], shape) == (wanted["dtype"], wanted["shape"]), name
        assert hashlib.sha256(data).hexdigest() == wanted["sha256"], name
    with pytest.raises(FileExistsError):
        convert_pth(DATA / "checkpoint.pth", tmp_path / "out", CONFIG)


def rebuilt(tmp_path: pathlib.Path, data: Optional[bytes] = None, **entries: Any) -> pathlib.Path:
    """The checkpoint with another pickle or other entries (None: left out)."""
    path = tmp_path / "other.pth"
    with zipfile.ZipFile(DATA / "checkpoint.pth") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            short = name.split("/", 1)[1]
            content = data if short == "data.pkl" and data is not None else old.read(name)
            content = entries.get(short, content)
            if content is not None:
                new.writestr(name, content)
    return path


class Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.what = function, arguments

    def __reduce__(self) -> Any:
        return self.what


MARKER = "/tmp/libsamba-hostile-pickle"
HOSTILE = {
    "system": pickle.dumps({"model": Call(os.system, f"touch {MARKER}")}, 2),
    "eval": pickle.dumps(Call(eval, f"open({MARKER!r}, 'w')"), 2),
    "getattr": pickle.dumps(Call(getattr, 1, "real"), 4),
    "builtin bytearray": pickle.dumps(Call(bytearray, 1 << 40), 2),
    "path": pickle.dumps(pathlib.PurePosixPath("x"), 2),
    "instance": b"(S'x'\nios\nsystem\n.",
    "newobj": b"\x80\x02cposix\nstat_result\n)\x81.",
    "submodule": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",
    "module of torch": b"\x80\x02ctorch\nload\n(tR.",
    "extension": b"\x80\x02\x82\x01.",
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    "no end": b"\x80\x02}",
    "empty": b"",
    "pops too much": b"\x80\x02R.",
    "memo": b"\x80\x02h\x07.",
    "long": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "huge text": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "unhashable key": b"\x80\x02}]Ns.",
    "state": b"\x80\x02K\x01}b.",
    "nested": b"\x80\x02" + b"(" * 100000 + b".",
    "deep": b"\x80\x02" + b"]" * 100000 + b"a" * 99999 + b".",
    "frozen set": pickle.dumps(frozenset([1]), 4),
    "a number": pickle.dumps(3, 2),
    "a list": pickle.dumps({"model": [1, 2]}, 2),
    "text as tensor": pickle.dumps({"model": {"lm_head.weight": "x"}}, 2),
}


NAMING = ("system", "eval", "getattr", "builtin bytearray", "path", "newobj", "submodule",
          "module of torch", "stack global")  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles(tmp_path: pathlib.Path, name: str) -> None:
    pathlib.Path(MARKER).unlink(missing_ok=True)
    path = rebuilt(tmp_path, HOSTILE[name])
    with pytest.raises(samba.ModelFormatError) as refused:
        convert_pth(path, tmp_path / "out", CONFIG)
    if name in NAMING:
        assert "is no tensor: refused" in str(refused.value)
    assert not pathlib.Path(MARKER).exists()
    assert not (tmp_path / "out" / "model.safetensors").exists()


def tensor_pickle(tmp_path: pathlib.Path, offset: int, shape: Any, strides: Any, numel: int) -> bytes:
    """A state dict with one tensor of storage 0, put together by hand."""
    out = io.BytesIO()
    out.write(b"\x80\x02}X\x05\x00\x00\x00model}X\x01\x00\x00\x00xctorch._utils\n_rebuild_tensor_v2\n(")
    out.write(b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu")

    def number(n: int) -> bytes:
        return b"\x8a" + bytes([9]) + n.to_bytes(9, "little", signed=True)

    out.write(number(numel) + b"tQ" + number(offset))
    for values in (shape, strides):
        out.write(b"(" + b"".join(map(number, values)) + b"t")
    out.write(b"\x89ccollections\nOrderedDict\n)RtRss.")
    return out.getvalue()


@pytest.mark.parametrize(
    "offset, shape, strides, numel",
    [
        (0, (33, 16), (16, 1), 512),
        (1, (512,), (1,), 512),
        (-1, (2,), (1,), 512),
        (0, (-1,), (1,), 512),
        (0, (2,), (-1,), 512),
        (0, (1 << 20, 1 << 20), (0, 0), 512),
        (0, (1 << 62, 4), (1, 1), 512),
        (0, (2, 2), (1 << 60, 1), 512),
        (0, (2,), (1, 1), 512),
        (0, (1,) * 9, (1,) * 9, 512),
    ],
)
def test_tensors_outside(
    tmp_path: pathlib.Path, offset: int, shape: Any, strides: Any, numel: int
) -> None:
    path = rebuilt(tmp_path, tensor_pickle(tmp_path, offset, shape, strides, numel))
    with pytest.raises(samba.ModelFormatError, match="outside its storage|does not fit together"):
        TorchFile(str(path))


def test_storages_of_another_size(tmp_path: pathlib.Path) -> None:
    with TorchFile(str(rebuilt(tmp_path, tensor_pickle(tmp_path, 2, (3, 2), (1, 3), 512)))) as file:
        assert sum(map(len, file.chunks(file.value["model"]["x"]))) == 24
    path = rebuilt(tmp_path, tensor_pickle(tmp_path, 0, (512,), (1,), 1 << 40))
    with TorchFile(str(path)) as file, pytest.raises(samba.ModelFormatError, match="expected"):
        list(file.chunks(file.value["model"]["x"]))


def test_damaged_zips(tmp_path: pathlib.Path) -> None:
    raw = (DATA / "checkpoint.pth").read_bytes()
    path = tmp_path / "cut.pth"
    for n in [0, 3, 4, 100, len(raw) // 2, len(raw) - 30, len(raw) - 1]:
        path.write_bytes(raw[:n])
        with pytest.raises(samba.ModelError):
            convert_pth(path, tmp_path / "out", CONFIG)
    flipped = bytearray(raw)
    flipped[len(raw) // 2] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(samba.ModelFormatError):
        convert_pth(path, tmp_path / "out", CONFIG)
    for entries in ({"data/3": None}, {"data/3": b"short"}, {"byteorder": b"big"}, {"data.pkl": None}):
        with pytest.raises(samba.ModelError):
            convert_pth(rebuilt(tmp_path, **entries), tmp_path / "out", CONFIG)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("x/data.pkl", b"\0" * (64 << 20))
    with pytest.raises(samba.ModelFormatError, match="compressed"):
        convert_pth(path, tmp_path / "out", CONFIG)


def test_names_of_configurations(tmp_path: pathlib.Path, capsys: Any) -> None:
    for family in ("Samba_421M", "Mamba_1.3B", "Mamba_SWA_MLP_400M", "LLaMA_1.3B", "LLaMA_438M_SWA_gla",
                   "LLaMA_1.4B_SWA_ret"):  # fmt: skip
        assert family in CONFIGS
    for name, variants in CONFIGS.items():
        for config in variants:
            assert config["name"] == name and {"n_layer", "n_embd", "vocab_size"} <= set(config)
    assert main([str(DATA / "checkpoint.pth"), str(tmp_path / "o"), "--config", "Samba_421M"]) == 1
    assert "2 blocks" in capsys.readouterr().err
    assert main([str(DATA / "checkpoint.pth"), str(tmp_path / "o"), "--config", "Sambo"]) == 1
    assert "Samba_421M" in capsys.readouterr().err
    (tmp_path / "c.json").write_text(json.dumps(CONFIG))
    assert main([str(DATA / "checkpoint.pth"), str(tmp_path / "o"), "--config", str(tmp_path / "c.json")]) == 0


def test_wrong_shape_is_noticed(tmp_path: pathlib.Path) -> None:
    with pytest.raises(samba.ModelMismatchError, match="shape"):
        convert_pth(DATA / "checkpoint.pth", tmp_path / "o", {**CONFIG, "vocab_size": 64})
