"""What the configuration names of microsoft/Samba stand for.

A name may stand for several configurations, as the repository's revisions changed it: the newest
first. Absent keys have the defaults of its Config class, which the library knows. S6-Mega models
are not here: the library does not run them.
"""

from __future__ import annotations

from typing import Any, Dict, List

Config = Dict[str, Any]

_ATTENTION: Config = {
    "block_size": 4096,
    "vocab_size": 32000,
    "padding_multiple": 64,
    "rotary_percentage": 1.0,
    "parallel_residual": False,
    "bias": False,
    "_norm_class": "FusedRMSNorm",
    "norm_eps": 1e-5,
    "_mlp_class": "LLaMAMLP",
}
_SMALL: Config = {"n_layer": 12, "n_head": 12, "n_embd": 1536, "intermediate_size": 4096}
_LARGE: Config = {"n_layer": 18, "n_head": 18, "n_embd": 2304, "intermediate_size": 6144}
_WINDOW: Config = {"local_window": 2048}
_TIED: Config = {"mamba_init": True}
_SAMBA: Config = {"mb_per_layer": 2, **_WINDOW, **_TIED}
_WIDE: Config = {"intermediate_size": 4608}
_MAMBA: Config = {
    "mamba": True,
    "block_size": 4096,
    "vocab_size": 32000,
    "padding_multiple": 64,
    "norm_eps": 1e-5,
    "rms_norm": True,
}

CONFIGS: Dict[str, List[Config]] = {}


def _add(name: str, *parts: Config, **more: Any) -> None:
    config: Config = {}
    for part in parts:
        config.update(part)
    CONFIGS.setdefault(name, []).append({"name": name, **config, **more})


def _small(name: str, *parts: Config, **more: Any) -> None:
    _add(name, _ATTENTION, _SMALL, *parts, **more)


def _large(name: str, *parts: Config, **more: Any) -> None:
    _add(name, _ATTENTION, _LARGE, *parts, **more)


# Llama
_small("LLaMA_438M")
_small("LLaMA_438M2k", block_size=2048)
_small("LLaMA_438M_SWA", _WINDOW)
_small("LLaMA_438M_SWA", _WINDOW, _TIED, n_layer=14)
_small("LLaMA_388M_SWA", _WINDOW, _TIED)
_small("LLaMA_438M_SWA_full", _WINDOW, full_per_layer=2)
_small("LLaMA_438M_SWA_paral", _WINDOW, _TIED, n_layer=14)
CONFIGS["LLaMA_438M_SWA_paral"][0].update(parallel_residual=True, shared_attention_norm=True)
_small("LLaMA_438M_SWA_mqa", _WINDOW, _WIDE, n_query_groups=1)
_small("LLaMA_438M_SWA_mqa6", _WINDOW, _WIDE, n_head=6, n_query_groups=1)
_small("LLaMA_438M_SWA_gqa2", _WINDOW, _WIDE, n_query_groups=2)
_small("LLaMA_438M_SWA_gqa4", _WINDOW, _WIDE, n_query_groups=4)
_small("LLaMA_438M8k_SWA", _WINDOW, block_size=8192)
_small("LLaMA_438M16k_SWA", _WINDOW, block_size=16384)
_small("LLaMA_438M32k_SWA", _WINDOW, block_size=32768)
_small("LLaMA_438M_SWA_8k4k", n_layer=14, block_size=8192, local_window=4096)
_small("LLaMA_438M_SWA_8k4k", _TIED, n_layer=14, block_size=8192, local_window=4096)
_small("LLaMA_438M_SWA_8k2k", _WINDOW, _TIED, n_layer=14, block_size=8192)
_large("LLaMA_1.3B", _TIED, n_layer=20)
_large("LLaMA_1.3B", block_size=2048)
_large("LLaMA_1.3B_SWA", _WINDOW, _TIED, n_layer=20)
_large("LLaMA_1.3B_SWA", _WINDOW)
_large("LLaMA_1.3B_SWA_8k4k", _TIED, n_layer=20, block_size=8192, local_window=4096)
_large("LLaMA_1.3B_SWA_8k2k", _WINDOW, _TIED, n_layer=20, block_size=8192)
_add(
    "LLaMA_2.9B",
    _ATTENTION,
    {"n_layer": 24, "n_head": 24, "n_embd": 3072, "intermediate_size": 8192, "block_size": 2048},
)

# Samba
_small("Samba_421M", _SAMBA)
_small("Samba_421M_1k_window", _SAMBA, local_window=1024)
_small("Samba_421M_512_window", _SAMBA, local_window=512)
_small("Samba_421M_nope", _SAMBA, nope=True)
_small("Samba_421M_abl_mamba", _SAMBA, abl_mamba=True)
_small("Samba_421M_mqa", _SAMBA, _WIDE, n_query_groups=1)
_small("Samba_421M_mqa6", _SAMBA, _WIDE, n_head=6, n_query_groups=1)
_small("Samba_421M_gqa2", _SAMBA, _WIDE, n_query_groups=2)
_small("Samba_421M_gqa4", _SAMBA, _WIDE, n_query_groups=4)
_large("Samba_1.3B", _SAMBA)
_large("Samba_1.3B_nope", _SAMBA, nope=True)
_large("Samba_1.3B_abl_mamba", _SAMBA, abl_mamba=True)
for _size in ("449M", "438M"):
    _small(f"LLaMA_{_size}_full_mamba_0", _TIED, attn_layer_pos="[0,]")
    _small(f"LLaMA_{_size}_full_mamba_5", _TIED, attn_layer_pos="[5,]")
    _small(f"LLaMA_{_size}_full_mamba_11", _TIED, attn_layer_pos="[11,]")
_small("LLaMA_443M_full_mamba_1,5", _TIED, attn_layer_pos="[1,5]")
_small("LLaMA_438M_full_mamba_1,5", _TIED, attn_layer_pos="[1,5]")

# Mamba-SWA-MLP
_small("Mamba_SWA_MLP_400M", _WINDOW, _TIED, mamba_swa_mlp=True, n_layer=8)
_large("Mamba_SWA_MLP_1.3B", _WINDOW, _TIED, mamba_swa_mlp=True, n_layer=12)

# GLA and RetNet
_small("LLaMA_438M_SWA_gla", _WINDOW, gla_per_layer=2)
_small("LLaMA_438M_SWA_gla", _WINDOW, _TIED, gla_per_layer=2)
_large("LLaMA_1.2B_SWA_gla", _WINDOW, _TIED, gla_per_layer=2)
_large("LLaMA_1.3B_SWA_gla", _WINDOW, _TIED, gla_per_layer=2)
_small("LLaMA_446M_SWA_ret", _WINDOW, _TIED, ret_per_layer=2)
_small("LLaMA_438M_SWA_ret", _WINDOW, _TIED, ret_per_layer=2)
_large("LLaMA_1.4B_SWA_ret", _WINDOW, _TIED, ret_per_layer=2)
_large("LLaMA_1.3B_SWA_ret", _WINDOW, _TIED, ret_per_layer=2)

# Mamba
_add("Mamba_370M", _MAMBA, n_layer=48, n_embd=1024)
_add("Mamba_430M", _MAMBA, n_layer=60, n_embd=1024)
_add("Mamba_1.3B", _MAMBA, n_layer=48, n_embd=2048)
