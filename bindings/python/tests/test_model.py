"""Models, tokenizers, exceptions, declarations."""

import pathlib
import pickle
import subprocess
import sys
from importlib import metadata

import pytest

import libsamba as samba

TOOLS = pathlib.Path(__file__).resolve().parents[1] / "tools"


def test_declarations_are_those_of_the_header(tmp_path: pathlib.Path) -> None:
    tool = [sys.executable, str(TOOLS / "make_declarations.py"), "--check"]
    assert subprocess.run(tool).returncode == 0
    changed = tmp_path / "samba.h"
    header = TOOLS.parents[2] / "include" / "samba.h"
    changed.write_text(header.read_text().replace("uint64_t branch;", "uint32_t branch;", 1))
    stale = subprocess.run([*tool, str(changed)], stderr=subprocess.PIPE)
    assert stale.returncode == 1 and b"stale" in stale.stderr


def test_version() -> None:
    try:
        installed = metadata.version("libsamba")
    except metadata.PackageNotFoundError:
        pytest.skip("run from the sources")
    assert installed == samba.__version__


def test_info(model: samba.Model, tiny: samba.Model) -> None:
    info = model.info
    assert info.name == "samba-13m" and info.has_tokenizer and len(info.fingerprint) == 16
    assert len(model.sublayers) == info.n_sublayers
    assert {s.kind for s in tiny.sublayers} == {"mamba", "attention", "swiglu"}
    assert tiny.info.family == "lit_gpt" and not tiny.info.has_tokenizer


def test_tokens(model: samba.Model, tiny: samba.Model) -> None:
    text = "Hello, w\u00f6rld \U0001f642 <|x|>"
    tokens = model.tokenize(text)
    assert model.detokenize(tokens) == text
    with samba.Detokenizer(model) as d:
        assert "".join(map(d.push, tokens)) + d.flush() == text
        first = model.tokenize("\U0001f642")[0]
        assert d.push(first) == "" and d.flush() == "\ufffd"
    assert model.tokenize(b"\xff\xfe") and model.tokenizer.decode_bytes(model.tokenize(b"\xff")) == b"\xff"
    word = model.tokenizer.find("ell")
    assert model.detokenize([word]) == "ell" and "ell" in model.tokenizer
    with pytest.raises(samba.NotFoundError):
        model.tokenizer.find("no such entry")
    assert model.tokenizer.is_special(model.info.bos_token or 0)
    with pytest.raises(samba.UnsupportedError):
        tiny.tokenize("x")


def test_errors(tmp_path: pathlib.Path, tiny_folder: pathlib.Path) -> None:
    with pytest.raises(samba.ModelError) as missing:
        samba.Model.load(tmp_path / "none.gguf")
    assert isinstance(missing.value, (samba.FileError, OSError))
    assert missing.value.file and "none.gguf" in missing.value.file
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_bytes((tiny_folder / "config.json").read_bytes())
    weights = (tiny_folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-4])
    with pytest.raises(samba.FormatError) as cut:
        samba.Model.load(folder)
    assert isinstance(cut.value, samba.ModelError) and cut.value.file
    config = (tiny_folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"n_embd": 16', '"n_embd": 32'))
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(samba.ModelMismatchError) as unlike:
        samba.Model.load(folder)
    assert unlike.value.tensor and "32" in str(unlike.value) and "16" in str(unlike.value)
    twin = pickle.loads(pickle.dumps(unlike.value))
    assert type(twin) is type(unlike.value) and twin.tensor == unlike.value.tensor
    with pytest.raises(ValueError, match="known are"):
        samba.Model.load(tiny_folder, weight_dtype="q3")


def test_progress(tiny_folder: pathlib.Path) -> None:
    seen = []
    samba.Model.load(tiny_folder, progress=lambda done, total: seen.append((done, total))).close()
    assert seen and seen[-1][0] == seen[-1][1]
    with pytest.raises(samba.CancelledError):
        samba.Model.load(tiny_folder, progress=lambda done, total: False)

    def broken(done: int, total: int) -> bool:
        raise RuntimeError("no bar")

    with pytest.raises(RuntimeError, match="no bar"):
        samba.Model.load(tiny_folder, progress=broken)


def test_convert_and_memory(tiny_folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "m.gguf"
    report = samba.convert(tiny_folder, out, name="tiny")
    assert report.file_bytes == out.stat().st_size
    assert samba.estimate(out).weight_bytes > 0
    with samba.Model.from_bytes(out.read_bytes()) as a, samba.Model.load(tiny_folder) as b:
        assert a.info.fingerprint == b.info.fingerprint and a.info.name == "tiny"
        with a.session() as s, b.session() as t:
            s.feed([1, 2, 3])
            t.feed([1, 2, 3])
            assert s.logits.tobytes() == t.logits.tobytes()


def test_contexts(tiny_folder: pathlib.Path) -> None:
    lines = []
    log = lambda level, message: lines.append((level, message))  # noqa: E731
    with samba.Context(threads=2, cpu_tier="reference", profile=True, log=log, log_level="debug") as c:
        with samba.Model.load(tiny_folder, context=c) as m, m.session() as s:
            assert m.info.tier == "reference"
            s.feed([1, 2, 3])
            assert sum(e.calls for e in c.profile) > 0
            c.reset_profile()
