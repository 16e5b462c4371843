#!/usr/bin/env python3
"""Our GGUF writer against the public package's reader, its writer against our reader, and a Mamba that
it quantised run by us.

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


SEARCHED = [("four", "q4_0", [5, 192], 0.04), ("four_k", "q4_k", [2, 512], 0.035), ("six_k", "q6_k", [4, 256], 0.01)]


def decoded(tool, path, name):
    """A tensor as our codec decodes it."""
    out = subprocess.run([tool, "decode", path, name], check=True, capture_output=True).stdout
    return np.frombuffer(out, "<f4")


def our_file(tool, folder):
    path = folder / "ours.gguf"
    subprocess.run([tool, "write", path], check=True)
    tensors = {}
    for name, dtype, shape in [("vector", "f32", [7]), ("matrix", "f32", [3, 5]), ("half", "f16", [4, 6]),
                               ("brain", "bf16", [2, 3, 4]), ("block", "q8_0", [6, 160])]:
        values = interop.encode(sequence(*shape), interop.QTYPE[dtype.upper()])
        tensors[name] = {"dtype": dtype, "shape": shape, "values": values}
    # Here the encoder searches: the numbers are our own, which the package must decode to the same.
    for name, dtype, shape, error in SEARCHED:
        values = decoded(tool, path, name).reshape(shape)
        tensors[name] = {"dtype": dtype, "shape": shape, "values": values}
        got, plain = (np.square(v - sequence(*shape)).mean() for v in
                      (values, interop.encode(sequence(*shape), interop.QTYPE[dtype.upper()])))
        assert got < error**2 and got < plain, f"{dtype}: error {got**0.5}, plain rounding {plain**0.5}"
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


def small_mamba(d=256, layers=2, vocab=96, state=16, rank=16, seed=7):
    """Config and tensors of a random Mamba, of the sizes that trained ones have."""
    rng = np.random.default_rng(seed)
    inner = 2 * d

    def matrix(rows, cols):
        return (rng.standard_normal((rows, cols)) / np.sqrt(cols)).astype(np.float32)

    def near(centre, spread, *shape):
        return (centre + spread * rng.standard_normal(shape)).astype(np.float32)

    t = {"token_embd.weight": near(0, 1, vocab, d)}
    for i in range(layers):
        t |= {f"blk.{i}.{name}": value for name, value in {
            "attn_norm.weight": near(1, 0.1, d), "ssm_in.weight": matrix(2 * inner, d),
            "ssm_conv1d.weight": near(0, 0.4, inner, 4), "ssm_conv1d.bias": near(0, 0.1, inner),
            "ssm_x.weight": matrix(rank + 2 * state, inner), "ssm_dt.weight": near(0, 0.2, inner, rank),
            "ssm_dt.bias": near(-4, 1, inner), "ssm_a": -np.exp(near(1, 0.7, inner, state)),
            "ssm_d": near(1, 0.3, inner), "ssm_out.weight": matrix(d, inner) / 2}.items()}
    t |= {"output_norm.weight": near(1, 0.1, d), "output.weight": matrix(vocab, d)}
    return {"hidden_size": d, "num_hidden_layers": layers, "conv_kernel": 4, "intermediate_size": inner,
            "state_size": state, "time_step_rank": rank, "layer_norm_epsilon": 1e-5}, t


def logits(lm, path, folder, vocab=96):
    ids = ",".join(str(i * 37 % vocab) for i in range(48))
    out = folder / "logits.safetensors"
    subprocess.run([lm, "logits", path, "--ids", ids, "--all", "--out", out], check=True)
    return interop.read_safetensors(out)["logits"]


def their_mamba(lm, folder):
    """Quantised by the package, its logits here are those of the numbers that its blocks stand for."""
    config, tensors = small_mamba()
    for dtype in ["f16", "q8_0", "q6_k", "q4_k", "q4_0"]:
        path, wide = folder / "quantised.gguf", folder / "numbers.gguf"
        interop.write_mamba_file(path, config, tensors, dtype, "small")
        f = interop.File(path)
        assert f.dtype(f.tensors["blk.0.ssm_in.weight"]) == dtype
        interop.write_mamba_file(wide, config, {name: f.values(name) for name in tensors}, "f32", "small")
        got, want = (logits(lm, p, folder) for p in (path, wide))
        off = np.abs(got - want).max() / np.abs(want).max()
        assert off < 1e-2, f"{dtype}: the logits are {off:.2g} of their size off"
        print(f"a small Mamba in the package's {dtype}: logits within {off:.2g} of its numbers' own")


def main():
    tool = Path(sys.argv[1]) / "tests/format/gguf_tool"
    lm = Path(sys.argv[1]) / "examples/samba-lm"
    cases = Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        our_file(tool, Path(folder))
        for name in ["mamba_hf", "mamba_hf_bias_ds8", "mamba_hf_ncb_e3"]:
            for dtype in interop.FILE_TYPES:
                their_file(tool, cases / name, Path(folder) / "theirs.gguf", dtype)
        their_mamba(lm, Path(folder))
    print("agrees in all with gguf", importlib.metadata.version("gguf"))


if __name__ == "__main__":
    main()
