#!/usr/bin/env python3
"""Our GGUF writer against the public package's reader, and its writer against our reader.

    test_gguf_interop.py BUILD_FOLDER GOLDEN_CASES
"""
import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import gguf_interop as interop  # noqa: E402
import numpy as np  # noqa: E402


def sequence(*shape):
    """The values that gguf_tool writes."""
    i = np.arange(np.prod(shape), dtype=np.uint64)
    words = (i * 2654435761 % 2**32).astype(np.uint32).view(np.int32)
    return (words.astype(np.float32) / np.float32(2147483648.0)).reshape(shape)


def fnv1a(data):
    h = 0xCBF29CE484222325
    for x in data:
        h = (h ^ x) * 0x100000001B3 % 2**64
    return f"{h:016x}"


def our_file(tool, folder):
    path = folder / "ours.gguf"
    subprocess.run([tool, "write", path], check=True)
    tensors = {}
    for name, dtype, shape in [("vector", "f32", [7]), ("matrix", "f32", [3, 5]), ("half", "f16", [4, 6]),
                               ("brain", "bf16", [2, 3, 4]), ("block", "q8_0", [6, 160])]:
        values = interop.encode(sequence(*shape), interop.QTYPE[dtype.upper()])
        tensors[name] = {"dtype": dtype, "shape": shape, "values": values}
    f = interop.check(path, {"tensors": tensors, "only": True, "keys": {
        "general.architecture": "samba", "general.name": "sample", "t.u32": 4000000000, "t.f32": -0.25,
        "t.yes": True, "t.no": False, "t.words": [0, 1, 4294967295], "t.ints": [-2147483648, -1, 2147483647],
        "t.floats": [0.5, -1.25], "t.strings": ["a", "", "snow \u2603"]}})
    # The bytes too: the package's own Q8_0 encoder is the reference.
    block = interop.gguf.quants.quantize(sequence(6, 160), interop.QTYPE.Q8_0)
    assert f.tensors["block"].data.tobytes() == block.tobytes(), "Q8_0 bytes differ from the package's"
    print(f"the package reads our file: {len(f.tensors)} tensors, {len(f.keys)} keys")


def listed(tool, path):
    """What our reader says: keys as text, tensors as rows."""
    keys, tensors = {}, {}
    for line in subprocess.run([tool, "list", path], check=True, text=True, capture_output=True).stdout.splitlines():
        kind, name, rest = line.split(" ", 2)
        if kind == "key":
            keys[name] = rest
        else:
            tensors[name] = rest.split(" ")
    return keys, tensors


def their_file(tool, case, path, dtype):
    source = interop.write_mamba(case, path, dtype)
    f = interop.File(path)
    keys, tensors = listed(tool, path)
    for key, value in f.keys.items():
        shown = f"{value:.9g}" if isinstance(value, float) else str(value)
        assert keys[key] == shown, f"{key}: we read {keys[key]}, the package {shown}"
    assert set(keys) == set(f.keys) and set(tensors) == set(f.tensors) == set(source)
    for name, t in f.tensors.items():
        want = [f.dtype(t), str(t.data_offset), str(t.n_bytes), fnv1a(t.data.tobytes()), *map(str, f.shape(t))]
        assert tensors[name] == want, f"{name}: we read {tensors[name]}, the package {want}"
        assert interop.same(f.values(name), interop.encode(np.ascontiguousarray(source[name]), t.tensor_type)), name
    print(f"we read the package's {dtype} {case.name}: {len(tensors)} tensors, {len(keys)} keys")


def main():
    tool = Path(sys.argv[1]) / "tests/format/gguf_tool"
    cases = Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        our_file(tool, Path(folder))
        for name in ["mamba_hf", "mamba_hf_bias_ds8", "mamba_hf_ncb_e3"]:
            for dtype in ["f32", "f16", "q8_0"]:
                their_file(tool, cases / name, Path(folder) / "theirs.gguf", dtype)
    print("agrees in all with gguf", importlib.metadata.version("gguf"))


if __name__ == "__main__":
    main()
