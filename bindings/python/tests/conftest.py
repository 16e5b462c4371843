"""Models for the tests: the bundled one, and a tiny one without a tokenizer."""

import json
import os
import pathlib
from typing import Iterator

import pytest

import libsamba as samba
from libsamba.convert_pth import convert_pth

HERE = pathlib.Path(__file__).resolve().parent
# Whether run.sh --asan runs this: memory that was freed stays, and everything takes longer.
SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")
MODEL = HERE.parents[2] / "examples" / "models" / "samba-13m.gguf"


@pytest.fixture(scope="session")
def model() -> Iterator[samba.Model]:
    with samba.Model.load(os.environ.get("SAMBA_MODEL", MODEL)) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("tiny") / "model"
    config = json.loads((HERE / "data" / "checkpoint.json").read_text())["config"]
    convert_pth(HERE / "data" / "checkpoint.pth", folder, config)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: pathlib.Path) -> Iterator[samba.Model]:
    with samba.Model.load(tiny_folder) as loaded:
        yield loaded
