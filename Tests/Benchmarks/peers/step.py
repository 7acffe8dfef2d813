"""Times other SAE trainers, and torch's own encode product, on the work of `Benchmarks sae D F K B`.

usage: step.py D F K B [--threads N] [--steps N] [--device cuda [--tf32]]

One line of JSON per trainer that can be imported, {"name": ..., "seconds": median of the steps}, or "error" in the
place of "seconds". Input, widths of the groups and k are the benchmark's; each trainer otherwise has its own defaults.
"""

import argparse
import json
import statistics
import sys
import time
import types

import torch

arguments = argparse.ArgumentParser()
for name in ("d", "f", "k", "b"):
    arguments.add_argument(name, type=int)
arguments.add_argument("--threads", type=int)
arguments.add_argument("--steps", type=int, default=3)
arguments.add_argument("--device", default="cpu")
arguments.add_argument("--tf32", action="store_true")
given = arguments.parse_args()
D, F, K, B = given.d, given.f, given.k, given.b
if given.threads:
    torch.set_num_threads(given.threads)
if given.tf32:
    torch.backends.cuda.matmul.allow_tf32 = True
torch.manual_seed(0)
x = ((torch.rand(B, D) * 2 - 1) * (3 / D) ** 0.5).to(given.device)
wait = torch.cuda.synchronize if given.device.startswith("cuda") else lambda: None
widths = [F // 32, F // 16, F // 8, F // 4]
widths.append(F - sum(widths))


def report(name, prepare, warm_up=1, steps=given.steps):
    try:
        step = prepare()
        for _ in range(warm_up):
            step()
        seconds = []
        for _ in range(steps):
            wait()
            start = time.perf_counter()
            step()
            wait()
            seconds.append(time.perf_counter() - start)
        line = {"name": name, "seconds": statistics.median(seconds)}
    except Exception as error:  # A peer that is missing or has changed must not stop the others.
        line = {"name": name, "error": f"{type(error).__name__}: {error}"}
    print(json.dumps(line), flush=True)


def product():
    weights = torch.randn(D, F, device=given.device)
    out = torch.empty(B, F, device=given.device)
    return lambda: torch.mm(x, weights, out=out)


def dictionary_learning():
    # Imported for its buffers of activations only, which are not used here.
    nnsight = types.ModuleType("nnsight")
    nnsight.LanguageModel = object
    sys.modules.setdefault("nnsight", nnsight)
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer

    trainer = MatryoshkaBatchTopKTrainer(
        steps=100_000, activation_dim=D, dict_size=F, k=K, layer=0, lm_name="none",
        group_fractions=[w / F for w in widths], seed=0, device=given.device)
    counter = iter(range(1_000_000))
    return lambda: trainer.update(next(counter), x)


def saelens():
    from sae_lens.saes.matryoshka_batchtopk_sae import (
        MatryoshkaBatchTopKTrainingSAE, MatryoshkaBatchTopKTrainingSAEConfig)
    from sae_lens.saes.sae import TrainStepInput

    ends = [sum(widths[: i + 1]) for i in range(len(widths))]
    sae = MatryoshkaBatchTopKTrainingSAE(
        MatryoshkaBatchTopKTrainingSAEConfig(d_in=D, d_sae=F, k=K, matryoshka_widths=ends, device=given.device))
    optimizer = torch.optim.Adam(sae.parameters(), lr=2e-4, betas=(0.9, 0.999))
    dead = torch.zeros(F, dtype=torch.bool, device=given.device)

    # What sae_lens.training.sae_trainer's step does, without its counters and logs.
    def step():
        output = sae.training_forward_pass(
            TrainStepInput(sae_in=x, coefficients={}, dead_neuron_mask=dead, n_training_steps=0, is_logging_step=False))
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


report(f"torch {torch.__version__.split('+')[0]}: encode product", product, warm_up=2, steps=9)
report("dictionary_learning: step", dictionary_learning)
report("SAELens: step", saelens)
