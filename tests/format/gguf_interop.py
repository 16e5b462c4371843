#!/usr/bin/env python3
"""GGUF files seen through the public `gguf` package (PyPI), beside this library's own reader.

    gguf_interop.py dump FILE
        One line per key and per tensor, as the package reads them.
    gguf_interop.py check FILE EXPECT.json
        EXPECT is {"keys": {name: value}, "tensors": {name: {"dtype": "q8_0", "shape": [rows, cols],
        "values": [...] or absent}}, "only": true}. Shapes are outermost first. Values are compared
        after decoding; "only" refuses tensors that EXPECT does not name.
    gguf_interop.py compare FILE WEIGHTS.safetensors [NAMES.json]
        Every tensor of FILE equals the safetensors tensor of the same name (NAMES maps GGUF names to
        safetensors names), encoded by the package in FILE's type: bit for bit after decoding.
    gguf_interop.py write-mamba CASE_FOLDER OUT.gguf {f32,f16,q8_0,q4_0,q4_k,q6_k}
        A Mamba checkpoint (Hugging Face naming) as llama.cpp's converter lays it out.

Exit status 0: all is as expected; 1: it is not (said on stderr).
"""
import argparse
import json
import struct
import sys
from pathlib import Path

import gguf
import numpy as np

QTYPE = gguf.GGMLQuantizationType


def fail(message):
    sys.exit(f"gguf_interop: {message}")


def read_safetensors(path):
    """name -> float32 array; integers stay what they are."""
    raw = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    plain = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1"}
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + x for x in entry["data_offsets"])
        if entry["dtype"] == "BF16":
            words = np.frombuffer(raw[begin:end], "<u2").astype(np.uint32) << 16
            data = words.view(np.float32)
        else:
            data = np.frombuffer(raw[begin:end], plain[entry["dtype"]])
            if entry["dtype"].startswith("F"):
                data = data.astype(np.float32)
        tensors[name] = data.reshape(entry["shape"])
    return tensors


class File:
    """A GGUF file as the package reads it; shapes outermost first."""

    def __init__(self, path):
        self.reader = gguf.GGUFReader(str(path))
        self.keys = {k: f.contents() for k, f in self.reader.fields.items() if not k.startswith("GGUF.")}
        self.tensors = {t.name: t for t in self.reader.tensors}
        if len(self.tensors) != len(self.reader.tensors):
            fail(f"{path}: a tensor name is there twice")

    @staticmethod
    def shape(tensor):
        return [int(n) for n in reversed(tensor.shape)]

    @staticmethod
    def dtype(tensor):
        return tensor.tensor_type.name.lower()

    def values(self, name):
        t = self.tensors[name]
        return np.asarray(gguf.quants.dequantize(t.data, t.tensor_type), np.float32).reshape(self.shape(t))


def same(a, b):
    return np.array_equal(np.ascontiguousarray(a, np.float32).view(np.uint32),
                          np.ascontiguousarray(b, np.float32).view(np.uint32))


def check(path, expect):
    """Keys and tensors are as `expect` says (a dict as in the usage)."""
    f = File(path)
    for key, want in expect.get("keys", {}).items():
        if key not in f.keys:
            fail(f"{path}: key {key} is missing")
        if f.keys[key] != want:
            fail(f"{path}: key {key} is {f.keys[key]!r}, expected {want!r}")
    for name, want in expect.get("tensors", {}).items():
        if name not in f.tensors:
            fail(f"{path}: tensor {name} is missing")
        t = f.tensors[name]
        if f.dtype(t) != want["dtype"] or f.shape(t) != list(want["shape"]):
            fail(f"{path}: tensor {name} is {f.dtype(t)} {f.shape(t)}, expected {want['dtype']} {want['shape']}")
        if "values" in want:
            values = np.asarray(want["values"], np.float32).reshape(want["shape"])
            if not same(f.values(name), values):
                fail(f"{path}: tensor {name} has other values than expected")
    extra = sorted(set(f.tensors) - set(expect.get("tensors", {})))
    if expect.get("only") and extra:
        fail(f"{path}: unexpected tensors: {', '.join(extra)}")
    return f


def encode(values, qtype):
    """What the package makes of f32 values in a type, decoded again."""
    return gguf.quants.dequantize(quantize(values, qtype), qtype).reshape(values.shape)


def compare(path, weights, names=None):
    """Tensors equal those of a safetensors file up to their own encoding; returns how many."""
    f, source = File(path), read_safetensors(weights)
    for name, t in f.tensors.items():
        other = (names or {}).get(name, name)
        if other not in source:
            fail(f"{path}: tensor {name}: {weights} has no {other}")
        want = source[other]
        if [n for n in f.shape(t) if n != 1] != [n for n in want.shape if n != 1]:
            fail(f"{path}: tensor {name} is {f.shape(t)}, {other} is {list(want.shape)}")
        want = encode(np.ascontiguousarray(want.reshape(f.shape(t)), np.float32), t.tensor_type)
        if not same(f.values(name), want):
            fail(f"{path}: tensor {name} differs from {other}")
    return len(f.tensors)


def extreme(x):
    """The values of largest size along the last axis, with their sign."""
    return np.take_along_axis(x, np.abs(x).argmax(-1, keepdims=True), -1)


def inverse(x):
    return np.divide(1, x, out=np.zeros_like(x), where=x != 0)


def f16_bytes(x):
    return x.astype("<f2").view(np.uint8)


def quantize_q4_k(values):
    """Plain rounding to Q4_K blocks, which the package can only decode."""
    x = values.reshape(-1, 8, 32).astype(np.float32)
    low, high = np.minimum(x.min(-1), 0), np.maximum(x.max(-1), 0)
    scale, minimum = (high - low) / 15, -low
    d, dmin = (s.max(-1, keepdims=True) / 63 for s in (scale, minimum))
    sc, m = (np.rint(s * inverse(u)).astype(np.uint8) for s, u in ((scale, d), (minimum, dmin)))
    d, dmin = (u.astype(np.float16).astype(np.float32) for u in (d, dmin))
    q = np.rint((x + (dmin * m)[..., None]) * inverse((d * sc)[..., None])).clip(0, 15).astype(np.uint8)
    scales = np.concatenate([sc[:, :4] | sc[:, 4:] >> 4 << 6, m[:, :4] | m[:, 4:] >> 4 << 6,
                             (sc[:, 4:] & 15) | (m[:, 4:] & 15) << 4], -1)
    q = q.reshape(-1, 4, 2, 32)
    q = (q[:, :, 0] | q[:, :, 1] << 4).reshape(-1, 128)
    return np.concatenate([f16_bytes(d), f16_bytes(dmin), scales, q], -1)


def quantize_q6_k(values):
    """Plain rounding to Q6_K blocks, as above."""
    x = values.reshape(-1, 16, 16).astype(np.float32)
    step = extreme(x)[..., 0] / -32
    d = extreme(step) / -128
    scale = np.rint(step * inverse(d)).clip(-128, 127).astype(np.int8)
    d = d.astype(np.float16).astype(np.float32)
    q = (np.rint(x * inverse((d * scale)[..., None])).clip(-32, 31) + 32).astype(np.uint8).reshape(-1, 2, 4, 32)
    low = np.concatenate([(q[:, :, i] & 15) | (q[:, :, i + 2] & 15) << 4 for i in (0, 1)], -1)
    high = q[:, :, 0] >> 4 | q[:, :, 1] >> 4 << 2 | q[:, :, 2] >> 4 << 4 | q[:, :, 3] >> 4 << 6
    return np.concatenate([low.reshape(-1, 128), high.reshape(-1, 64), scale.view(np.uint8), f16_bytes(d)], -1)


def quantize(values, qtype):
    """The package's encoder, or ours of a type that it has none for."""
    values = np.ascontiguousarray(values)
    by_hand = {QTYPE.Q4_K: quantize_q4_k, QTYPE.Q6_K: quantize_q6_k}
    if qtype not in by_hand:
        return gguf.quants.quantize(values, qtype)
    return by_hand[qtype](values).reshape(*values.shape[:-1], -1)


MAMBA_NAMES = {  # Hugging Face, below backbone.layers.N -> GGUF, below blk.N
    "norm.weight": "attn_norm.weight",
    "mixer.in_proj.weight": "ssm_in.weight",
    "mixer.in_proj.bias": "ssm_in.bias",
    "mixer.conv1d.weight": "ssm_conv1d.weight",
    "mixer.conv1d.bias": "ssm_conv1d.bias",
    "mixer.x_proj.weight": "ssm_x.weight",
    "mixer.dt_proj.weight": "ssm_dt.weight",
    "mixer.dt_proj.bias": "ssm_dt.bias",
    "mixer.A_log": "ssm_a",
    "mixer.D": "ssm_d",
    "mixer.out_proj.weight": "ssm_out.weight",
    "mixer.out_proj.bias": "ssm_out.bias",
}


def mamba_tensors(folder):
    """GGUF name -> f32 array, in the order of the checkpoint."""
    source = read_safetensors(Path(folder) / "model.safetensors")
    out = {}
    for name, data in source.items():
        if name == "backbone.embeddings.weight":
            out["token_embd.weight"] = data
        elif name == "backbone.norm_f.weight":
            out["output_norm.weight"] = data
        elif name == "lm_head.weight":
            out["output.weight"] = data
        else:
            _, _, block, rest = name.split(".", 3)
            out[f"blk.{block}.{MAMBA_NAMES[rest]}"] = data
    for name in out:
        if name.endswith(".ssm_a"):
            out[name] = -np.exp(out[name])
        elif name.endswith(".ssm_conv1d.weight"):
            out[name] = out[name].squeeze(1)  # [E][1][k] -> [E][k]
    if "output.weight" in out and np.array_equal(out["output.weight"], out["token_embd.weight"]):
        del out["output.weight"]
    return out


def mamba_type(name, data, wanted):
    """The converter's rule: vectors, norms, the convolution and A stay f32; rows that are no
    multiple of a block fall back to f16."""
    if data.ndim <= 1 or name.endswith(("_norm.weight", ".ssm_conv1d.weight")) or not name.endswith(".weight"):
        return QTYPE.F32
    return QTYPE.F16 if data.shape[-1] % gguf.GGML_QUANT_SIZES[wanted][0] else wanted


FILE_TYPES = {"f32": gguf.LlamaFileType.ALL_F32, "f16": gguf.LlamaFileType.MOSTLY_F16,
              "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0, "q4_0": gguf.LlamaFileType.MOSTLY_Q4_0,
              "q4_k": gguf.LlamaFileType.MOSTLY_Q4_K_S, "q6_k": gguf.LlamaFileType.MOSTLY_Q6_K}


def write_mamba(folder, path, dtype):
    """Returns the f32 tensors that were encoded."""
    config = json.loads((Path(folder) / "config.json").read_text())
    if config.get("model_type") != "mamba":
        fail(f"{folder}: model_type is {config.get('model_type')!r}, expected 'mamba'")
    tensors = mamba_tensors(folder)
    write_mamba_file(path, config, tensors, dtype, Path(folder).name)
    return tensors


def write_mamba_file(path, config, tensors, dtype, name):
    """name -> f32 array in GGUF's names and shapes -> a file."""
    wanted = QTYPE[dtype.upper()]
    w = gguf.GGUFWriter(str(path), gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.MAMBA])
    w.add_name(name)
    w.add_context_length(2**20)
    w.add_embedding_length(config["hidden_size"])
    w.add_feed_forward_length(0)
    w.add_head_count(0)
    w.add_block_count(config["num_hidden_layers"])
    w.add_ssm_conv_kernel(config["conv_kernel"])
    w.add_ssm_inner_size(config["intermediate_size"])
    w.add_ssm_state_size(config["state_size"])
    w.add_ssm_time_step_rank(config["time_step_rank"])
    w.add_layer_norm_rms_eps(config["layer_norm_epsilon"])
    w.add_ssm_dt_b_c_rms(False)
    w.add_file_type(FILE_TYPES[dtype])
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for name, data in tensors.items():
        qtype = mamba_type(name, data, wanted)
        w.add_tensor(name, quantize(data, qtype), raw_dtype=qtype)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def dump(path):
    f = File(path)
    for key, value in f.keys.items():
        print("key", key, f"[{len(value)}]" if isinstance(value, list) else value)
    for name, t in sorted(f.tensors.items()):
        print("tensor", name, f.dtype(t), t.data_offset, t.n_bytes, *f.shape(t))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(dest="command", required=True)
    s = sub.add_parser("dump")
    s.add_argument("file")
    s = sub.add_parser("check")
    s.add_argument("file")
    s.add_argument("expect")
    s = sub.add_parser("compare")
    s.add_argument("file")
    s.add_argument("weights")
    s.add_argument("names", nargs="?")
    s = sub.add_parser("write-mamba")
    s.add_argument("folder")
    s.add_argument("out")
    s.add_argument("dtype", choices=list(FILE_TYPES))
    a = p.parse_args()
    if a.command == "dump":
        dump(a.file)
    elif a.command == "check":
        f = check(a.file, json.loads(Path(a.expect).read_text()))
        print(f"{a.file}: {len(f.tensors)} tensors and {len(f.keys)} keys as expected")
    elif a.command == "compare":
        names = json.loads(Path(a.names).read_text()) if a.names else None
        print(f"{a.file}: {compare(a.file, a.weights, names)} tensors equal")
    else:
        print(f"{a.out}: {len(write_mamba(a.folder, a.out, a.dtype))} tensors")


if __name__ == "__main__":
    main()
