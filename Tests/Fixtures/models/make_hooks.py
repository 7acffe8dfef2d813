#!/usr/bin/env python3
"""Writes hooks.safetensors beside each small model: what transformers (5.24, in Double) adds to the residual stream in block 1 by attention
and by the perceptron, after the norms of results that Gemma has; the gradients of the summed next-token loss there; and the losses and
gradients when random numbers take the place of either."""
import json, os, struct, shutil, tempfile
import numpy as np, torch
from transformers import AutoModelForCausalLM

BLOCK = 1
FAMILIES = {
    "llama": ("model.layers", "self_attn", "mlp"), "mistral": ("model.layers", "self_attn", "mlp"),
    "qwen2": ("model.layers", "self_attn", "mlp"), "qwen3": ("model.layers", "self_attn", "mlp"),
    "gemma2": ("model.layers", "post_attention_layernorm", "post_feedforward_layernorm"),
    "gemma3": ("model.layers", "post_attention_layernorm", "post_feedforward_layernorm"),
    "gpt2": ("transformer.h", "attn", "mlp"), "gpt_neox": ("gpt_neox.layers", "attention", "mlp"),
}

def tensors(path):
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
        data = file.read()
    types = {"I64": np.int64, "F32": np.float32, "F64": np.float64}
    return {name: np.frombuffer(data[slice(*t["data_offsets"])], types[t["dtype"]]).reshape(t["shape"])
            for name, t in header.items() if name != "__metadata__"}

def write(path, values):
    header, at = {}, 0
    for name, value in values.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for value in values.values():
            file.write(value.tobytes())

def load(family):
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(f"{family}/config.transformers5.json", f"{folder}/config.json")
        shutil.copy(f"{family}/model.safetensors", folder)
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()

def run(model, module, ids, replaced=None):
    """The value at the module's output, the losses [B, T - 1], and the gradient of their sum there."""
    kept = []
    def hook(_, __, output):
        value = output[0] if isinstance(output, tuple) else output
        value = (value if replaced is None else replaced).detach().clone().requires_grad_()
        kept.append(value)
        return (value,) + output[1:] if isinstance(output, tuple) else value
    handle = module.register_forward_hook(hook)
    logits = model(ids).logits
    handle.remove()
    losses = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    losses.sum().backward()
    return kept[0].detach(), losses.detach(), kept[0].grad

for family, (blocks, attention, perceptron) in FAMILIES.items():
    io = tensors(f"{family}/io.safetensors")
    ids = torch.tensor(io["input_ids"])
    model = load(family)
    block = model.get_submodule(blocks)[BLOCK]
    # The same model as the other recorded numbers are of.
    recorded = io.get(f"f64.resid.{BLOCK}", io[f"resid.{BLOCK}"])
    states = []
    handle = block.register_forward_hook(lambda _, __, output: states.append(output[0] if isinstance(output, tuple) else output))
    model(ids)
    handle.remove()
    assert np.abs(states[0].detach().numpy() - recorded).max() < 1e-5 * np.abs(recorded).max(), family
    random = torch.Generator().manual_seed(7)
    values = {}
    for name, module in (("attn_out", block.get_submodule(attention)), ("mlp_out", block.get_submodule(perceptron))):
        value, losses, gradient = run(model, module, ids)
        other = torch.randn(value.shape, generator=random, dtype=torch.float32)
        _, other_losses, other_gradient = run(model, module, ids, other.double())
        values |= {name: value, f"{name}.grad": gradient, f"{name}.splice.x": other, f"{name}.splice.losses": other_losses,
                   f"{name}.splice.grad": other_gradient}
    write(f"{family}/hooks.safetensors", {name: value.float().numpy() for name, value in values.items()})
    print(family, {name: float(value.abs().max()) for name, value in values.items()})
