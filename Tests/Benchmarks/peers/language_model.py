"""What transformers on torch takes for the language model's two jobs on the processor.

    python language_model.py FOLDER LAYER [--how sdpa,eager,oneDNN,bf16] [--sequences 8] [--length 256] [--rounds 3] [--threads 2]

FOLDER holds a model as transformers reads it; without weights, config.json alone, they are drawn. For each way to compute it prints a
line of JSON per job, with the most memory that the process has held so far:

    {"part": "harvest", "how": "sdpa", "seconds": 1.2, "tokens_per_second": 1700.0, "peak_mib": 2100}

sdpa, eager   float32, transformers' two ways to compute attention on a processor, matrix products as torch makes them (MKL)
bf16          sdpa where the family has it, weights and arithmetic in bfloat16
oneDNN        sdpa, and every linear layer through oneDNN: no setting of torch does this in float32, but on processors
              that are not Intel's, where MKL keeps to AVX2, it is the fastest that torch's parts allow

harvest   the residual stream after block LAYER; later blocks are not run, nothing is kept for a backward pass
gradient  next-token losses from there, and their gradient with respect to that stream; blocks up to LAYER are not run

The blocks are called one by one with the arguments that transformers itself prepares, so that either job runs its own
part of the model and nothing else: what the whole model's forward would add is not held against it.
"""

import argparse
import json
import pathlib
import resource
import time

import torch
from transformers import AutoConfig, AutoModelForCausalLM


class Captured(Exception):
    """Thrown out of the model once the first block's arguments are known."""


def block_arguments(model, ids):
    """What the model hands every block beside the hidden state: mask, positions, rotary tables."""
    caught = {}

    def catch(module, positional, named):
        caught.update(named)
        caught["hidden"] = positional[0] if positional else caught.pop("hidden_states")
        raise Captured

    handle = model.model.layers[0].register_forward_pre_hook(catch, with_kwargs=True)
    try:
        with torch.no_grad():
            model.model(input_ids=ids, use_cache=False)
    except Captured:
        pass
    handle.remove()
    return caught.pop("hidden"), caught


def run_blocks(blocks, hidden, arguments):
    for block in blocks:
        out = block(hidden, **arguments)
        hidden = out[0] if isinstance(out, tuple) else out
    return hidden


def harvest(model, ids, layer):
    hidden, arguments = block_arguments(model, ids)
    with torch.no_grad():
        return run_blocks(model.model.layers[: layer + 1], hidden, arguments)


def gradient(model, ids, residual, arguments, layer):
    x = residual.detach().clone().requires_grad_(True)
    hidden = model.model.norm(run_blocks(model.model.layers[layer + 1 :], x, arguments))
    logits = model.lm_head(hidden[:, :-1])
    cap = getattr(model.config, "final_logit_softcapping", None)
    if cap:
        logits = torch.tanh(logits / cap) * cap
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="sum")
    return torch.autograd.grad(loss, x)[0]


class OneDNNLinear(torch.autograd.Function):
    """x Wᵀ and its gradient with respect to x; W is constant."""

    @staticmethod
    def forward(ctx, x, weight, transposed):
        ctx.transposed = transposed
        return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")

    @staticmethod
    def backward(ctx, gradient):
        product = torch.ops.mkldnn._linear_pointwise(gradient.contiguous(), ctx.transposed, None, "none", [], "")
        return product, None, None


def use_onednn(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module.bias is None:
            weight = module.weight.detach()
            transposed = weight.t().contiguous()
            module.forward = lambda x, w=weight, t=transposed: OneDNNLinear.apply(x, w, t)


def made(folder, **settings):
    if list(pathlib.Path(folder).glob("*.safetensors")):
        return AutoModelForCausalLM.from_pretrained(folder, **settings)
    return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), **settings)


def load(folder, how):
    dtype = torch.bfloat16 if how == "bf16" else torch.float32
    try:
        model = made(folder, dtype=dtype, attn_implementation="eager" if how == "eager" else "sdpa")
    except ValueError:
        # Families with capped scores have no sdpa in transformers.
        if how in ("sdpa", "eager"):
            raise
        model = made(folder, dtype=dtype, attn_implementation="eager")
    model.eval().requires_grad_(False)
    if how == "oneDNN":
        use_onednn(model)
    return model


def median_seconds(rounds, body):
    body()  # allocations and lazy initialisation
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        body()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[rounds // 2]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("layer", type=int)
    parser.add_argument("--how", default="sdpa,eager,oneDNN")
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for how in options.how.split(","):
        model = load(options.folder, how)
        count = options.sequences * options.length
        ids = (torch.arange(count) * 7919 % model.config.vocab_size).reshape(options.sequences, options.length)
        residual = harvest(model, ids, options.layer)
        _, arguments = block_arguments(model, ids)
        for part, body in (
            ("harvest", lambda: harvest(model, ids, options.layer)),
            ("gradient", lambda: gradient(model, ids, residual, arguments, options.layer)),
        ):
            seconds = median_seconds(options.rounds, body)
            line = {
                "part": part, "how": how, "seconds": seconds, "tokens_per_second": count / seconds,
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "torch": torch.__version__, "threads": torch.get_num_threads(),
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
