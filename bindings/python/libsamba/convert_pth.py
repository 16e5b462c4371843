"""Checkpoints of microsoft/Samba's training as safetensors + config.json, without torch.

    python -m libsamba.convert_pth in.pth out_dir --config Samba_421M

The folder then loads with Model.load, and `libsamba.convert` makes one GGUF file of it. The pickle
inside a .pth file is read by an interpreter that knows tensors only: nothing of it is executed, and
whatever is no tensor, number, text, list or dict is refused.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import sys
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

from ._errors import Error, ModelFormatError, ModelMismatchError
from ._lit_gpt_configs import CONFIGS, Config
from ._torch_file import Tensor, TorchFile

__all__ = ["CONFIGS", "Report", "convert_pth", "main"]

_WRAPPERS = ("_forward_module.", "_fsdp_wrapped_module.", "_orig_mod.", "module.")
_FLOATS = ("F32", "F16", "BF16")
_EMBEDDING, _HEAD = "transformer.wte.weight", "lm_head.weight"


class Report(NamedTuple):
    """What `convert_pth` wrote."""

    config: Config
    n_tensors: int
    n_parameters: int
    file_bytes: int


def _plain_name(name: str) -> str:
    """Without what wrappers of modules (FSDP, compile) put into names."""
    for wrapper in _WRAPPERS:
        if name.startswith(wrapper):
            return _plain_name(name[len(wrapper) :])
        name = name.replace("." + wrapper, ".")
    return name


def _model_tensors(file: TorchFile) -> Dict[str, Tensor]:
    value = file.value
    state = value.get("model", value) if type(value) is dict else None
    if type(state) is not dict or not state:
        raise file.fail('no state dict in it, neither as "model" nor as a whole')
    tensors: Dict[str, Tensor] = {}
    for key, tensor in state.items():
        if type(key) is not str or type(tensor) is not Tensor:
            raise file.fail(f"the state dict's {key!r} is no tensor")
        name = _plain_name(key)
        if tensor.storage.type.name not in _FLOATS:
            raise ModelFormatError(
                f"{file.path}: tensor {name} is {tensor.storage.type.name}, known are "
                + ", ".join(_FLOATS),
                file=file.path,
                tensor=name,
            )
        if name in tensors:
            raise file.fail(f"two tensors are called {name}")
        tensors[name] = tensor
    return tensors


def _blocks(tensors: Dict[str, Tensor]) -> int:
    found = set()
    for name in tensors:
        parts = name.split(".")
        if parts[:2] == ["transformer", "h"] and len(parts) > 3:
            found.add(parts[2])
    return len(found)


def _same_bytes(file: TorchFile, a: Tensor, b: Tensor) -> bool:
    if a == b:
        return True
    if a.shape != b.shape or a.storage.type != b.storage.type:
        return False

    def joined(tensor: Tensor) -> Iterator[bytes]:
        held = b""
        for chunk in file.chunks(tensor):
            held += chunk
            while len(held) >= 1 << 16:
                yield held[: 1 << 16]
                held = held[1 << 16 :]
        yield held

    return all(x == y for x, y in zip(joined(a), joined(b)))


def _misfit(file: TorchFile, tensors: Dict[str, Tensor], config: Config) -> Optional[str]:
    """Why the checkpoint is not of this configuration; None if it may be. Shapes of everything
    are checked when the model is loaded."""
    if _blocks(tensors) != config["n_layer"]:
        return f"the checkpoint has {_blocks(tensors)} blocks, the config n_layer {config['n_layer']}"
    for name in (_EMBEDDING, _HEAD):
        if name not in tensors:
            return f"the checkpoint has no {name}"
    multiple = int(config.get("padding_multiple", 512))
    padded = -(-int(config.get("vocab_size", 50254)) // multiple) * multiple
    expected = (int(config.get("padded_vocab_size") or padded), int(config["n_embd"]))
    shape = tensors[_EMBEDDING].shape
    if shape != expected:
        return f"{_EMBEDDING} has shape {list(shape)}, the config {list(expected)}"
    tied = bool(config.get("mamba_init") or config.get("mamba"))
    if tied and not _same_bytes(file, tensors[_EMBEDDING], tensors[_HEAD]):
        return "embedding and head differ, the config ties them"
    return None


def _choose(file: TorchFile, tensors: Dict[str, Tensor], candidates: List[Config]) -> Config:
    reasons = []
    for config in candidates:
        reason = _misfit(file, tensors, config)
        if reason is None:
            return config
        reasons.append(reason)
    raise ModelMismatchError(f"{file.path}: {reasons[0]}", file=file.path)


def _candidates(config: Union[str, Config]) -> List[Config]:
    """By name, or the text's file."""
    if not isinstance(config, str):
        return [config]
    if config in CONFIGS:
        return CONFIGS[config]
    if config.endswith(".json"):
        found: Any = json.loads(pathlib.Path(config).read_text())
        if isinstance(found, dict) and {"n_layer", "n_embd"} <= set(found):
            return [found]
        raise ModelFormatError(f"{config}: no lit_gpt configuration", file=config)
    raise ValueError(f"there is no configuration {config!r}; known are {', '.join(CONFIGS)}")


def _header(tensors: Dict[str, Tensor]) -> bytes:
    entries: Dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, tensor in tensors.items():
        end = at + tensor.nbytes
        entries[name] = {
            "dtype": tensor.storage.type.name,
            "shape": list(tensor.shape),
            "data_offsets": [at, end],
        }
        at = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_tensors(file: TorchFile, tensors: Dict[str, Tensor], path: pathlib.Path) -> int:
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as out:
            out.write(_header(tensors))
            for tensor in tensors.values():
                for chunk in file.chunks(tensor):
                    out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
            size = out.tell()
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return size


def convert_pth(
    in_path: Union[str, "os.PathLike[str]"],
    out_dir: Union[str, "os.PathLike[str]"],
    config: Union[str, Config],
    *,
    tokenizer: Union[str, "os.PathLike[str]", None] = None,
) -> Report:
    """Writes out_dir/model.safetensors and out_dir/config.json.

    Args:
        in_path: what fabric.save or torch.save wrote: {"model": state dict, ...}, or a state dict.
        out_dir: made if it is not there; files of an earlier run are not overwritten.
        config: a name of `CONFIGS`, the path of a .json file, or a dict with those keys.
        tokenizer: a tokenizer.json to put beside them.

    Raises:
        ModelFormatError: damaged, or something in it is no tensor.
        ModelMismatchError: not a checkpoint of that configuration.
        ModelUnsupportedError: not a zip file (torch before 1.6), or not little-endian.
        FileExistsError: out_dir holds a model already.
    """
    candidates = _candidates(config)
    folder = pathlib.Path(out_dir)
    targets = [folder / "model.safetensors", folder / "config.json"]
    for target in targets:
        if target.exists():
            raise FileExistsError(f"{target} is there already")
    with TorchFile(os.fspath(in_path)) as file:
        tensors = _model_tensors(file)
        chosen = _choose(file, tensors, candidates)
        folder.mkdir(parents=True, exist_ok=True)
        size = _write_tensors(file, tensors, targets[0])
    targets[1].write_text(json.dumps(chosen, indent=1) + "\n")
    if tokenizer is not None:
        shutil.copyfile(tokenizer, folder / "tokenizer.json")
    return Report(chosen, len(tensors), sum(t.numel for t in tensors.values()), size)


def main(arguments: Optional[List[str]] = None) -> int:
    """The command; 0, or 1 after a message on stderr."""
    names: Tuple[str, ...] = tuple(CONFIGS)
    parser = argparse.ArgumentParser(
        prog="python -m libsamba.convert_pth",
        description="Checkpoints of microsoft/Samba's training as safetensors + config.json.",
        epilog="Configurations: " + ", ".join(names),
    )
    parser.add_argument("input", metavar="in.pth")
    parser.add_argument("output", metavar="out_dir")
    parser.add_argument("--config", required=True, metavar="NAME", help="a name, or a .json file")
    parser.add_argument("--tokenizer", metavar="FILE", help="a tokenizer.json to put beside it")
    chosen = parser.parse_args(arguments)
    try:
        report = convert_pth(
            chosen.input, chosen.output, chosen.config, tokenizer=chosen.tokenizer
        )
    except (Error, OSError, ValueError) as error:
        print(f"convert_pth: {error}", file=sys.stderr)
        return 1
    print(
        f"{report.n_tensors} tensors, {report.n_parameters} values, {report.file_bytes} bytes "
        f"in {chosen.output}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
