"""The README's snippets, each in a process of its own."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from conftest import HERE, MODEL

SNIPPETS = re.findall(r"```python\n(.*?)```", (HERE.parent / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("index", range(len(SNIPPETS)))
def test_snippet(index: int, tmp_path: pathlib.Path) -> None:
    (tmp_path / "samba-13m.gguf").symlink_to(MODEL)
    shutil.copy(HERE / "data" / "checkpoint.pth", tmp_path)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SNIPPETS[index]],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout


def test_there_are_ten() -> None:
    assert len(SNIPPETS) >= 10
