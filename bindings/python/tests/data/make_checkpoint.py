"""Writes checkpoint.pth and checkpoint.json with torch: run by hand, the files are committed.

A Samba of 2 blocks in the layout that microsoft/Samba's pretrain.py saves, with what state dicts
may hold besides plain tensors: bf16 and f16, views of a shared storage, a transposed tensor,
a parameter. checkpoint.json has the SHA-256 of every tensor's bytes in row-major order.
"""

import hashlib
import json
import pathlib
from collections import OrderedDict

import torch

here = pathlib.Path(__file__).parent
D, LAYERS, VOCAB, MLP = 16, 2, 32, 32
CONFIG = {
    "n_embd": D, "n_layer": LAYERS, "n_head": 2, "vocab_size": VOCAB, "padding_multiple": 16,
    "mb_per_layer": 2, "rotary_percentage": 1.0, "parallel_residual": False, "bias": False,
    "_norm_class": "FusedRMSNorm", "norm_eps": 1e-5, "_mlp_class": "LLaMAMLP",
    "intermediate_size": MLP, "local_window": 8, "mamba_init": True, "block_size": 64,
}  # fmt: skip


def model() -> "OrderedDict[str, torch.Tensor]":
    torch.manual_seed(1)
    state: "OrderedDict[str, torch.Tensor]" = OrderedDict()

    def add(name: str, *shape: int, scale: float = 0.2, base: float = 0.0) -> None:
        state[name] = base + scale * torch.randn(*shape)

    add("lm_head.weight", VOCAB, D)
    state["transformer.wte.weight"] = state["lm_head.weight"]
    for i in range(LAYERS):
        p = f"transformer.h.{i}."
        add(p + "norm_1.weight", D, base=1.0)
        if i % 2 == 0:
            add(p + "attn.A_log", 2 * D, 16, base=1.0)
            add(p + "attn.D", 2 * D, base=1.0)
            add(p + "attn.in_proj.weight", 4 * D, D)
            add(p + "attn.conv1d.weight", 2 * D, 1, 4)
            add(p + "attn.conv1d.bias", 2 * D)
            add(p + "attn.x_proj.weight", 1 + 32, 2 * D)
            add(p + "attn.dt_proj.weight", 2 * D, 1)
            add(p + "attn.dt_proj.bias", 2 * D, base=-3.0)
            add(p + "attn.out_proj.weight", D, 2 * D)
        else:
            add(p + "attn.attn.weight", 3 * D, D)
            add(p + "attn.proj.weight", D, D)
        add(p + "norm_2.weight", D, base=1.0)
        for part in ("w1", "w2"):
            add(p + f"mlp.swiglu.{part}.weight", MLP, D)
        add(p + "mlp.swiglu.w3.weight", D, MLP)
    add("transformer.ln_f.weight", D, base=1.0)

    both = torch.randn(2 * MLP, D)  # two views of one storage
    state["transformer.h.0.mlp.swiglu.w1.weight"] = both[:MLP]
    state["transformer.h.0.mlp.swiglu.w2.weight"] = both[MLP:]
    state["transformer.h.0.mlp.swiglu.w3.weight"] = (0.2 * torch.randn(MLP, D)).t()
    state["transformer.h.1.mlp.swiglu.w1.weight"] = (0.2 * torch.randn(MLP, D)).bfloat16()
    state["transformer.h.1.mlp.swiglu.w2.weight"] = (0.2 * torch.randn(MLP, D)).half()
    state["transformer.ln_f.weight"] = torch.nn.Parameter(state["transformer.ln_f.weight"])
    state._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    return state


def main() -> None:
    state = model()
    optimizer = {
        "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(4)}},
        "param_groups": [{"lr": 4e-4, "betas": (0.9, 0.95), "fused": True, "params": [0]}],
    }
    hparams = {"model_name": "tiny", "learning_rate": 4e-4, "nodes": 1, "max_tokens": 20000000000}
    torch.save(
        {"model": state, "optimizer": optimizer, "hparams": hparams, "iter_num": 3, "step_count": 1},
        here / "checkpoint.pth",
    )
    digests = {}
    for name, tensor in state.items():
        t = tensor.detach().contiguous()
        digests[name] = {
            "dtype": str(t.dtype),
            "shape": list(t.shape),
            "sha256": hashlib.sha256(t.view(torch.uint8).numpy().tobytes()).hexdigest(),
        }
    text = json.dumps({"torch": torch.__version__, "config": CONFIG, "tensors": digests}, indent=1)
    (here / "checkpoint.json").write_text(text + "\n")


main()
