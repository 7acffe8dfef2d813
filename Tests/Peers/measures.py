"""Holds `dmsae eval core` against SAEBench's own code and schema, on the same activations.

    measures.py PROGRAM FOLDER

FOLDER has the packages of measures.txt. SAEBench's functions are taken out of its main.py as they stand, since the file as a whole needs
a hub; the model that they ask is `dmsae lm trace`, and the SAE is torch.
"""
import ast, json, os, subprocess, sys, tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import einops, numpy, torch
from safetensors.torch import load_file, save_file

PROGRAM, FOLDER = os.path.abspath(sys.argv[1]), Path(sys.argv[2])
sys.path.append(str(FOLDER))
import jsonschema

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "Tests" / "Fixtures" / "models" / "llama"
HOOK, LAYER, CONTEXT, BATCH = "blocks.1.hook_resid_post", 1, 24, 4
CORE = FOLDER / "sae_bench" / "evals" / "core"
# Single precision on both sides, in other orders; scores divide differences.
TOLERANCE = 2e-4


def dmsae(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"dmsae {' '.join(map(str, arguments))}\n{done.stderr}")
    return done.stdout


def sae_bench():
    """The functions of SAEBench's core evaluation that compute."""
    names = ["get_downstream_reconstruction_metrics", "get_recons_loss", "get_sparsity_and_variance_metrics", "calculate_max_cosine_sim",
             "get_featurewise_weight_based_metrics", "calculate_misc_metrics", "replace_nans_with_negative_one"]
    tree = ast.parse((CORE / "main.py").read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in names]
    assert [node.name for node in tree.body if node.name in names] and len(tree.body) == len(names)
    space = {"torch": torch, "einops": einops, "partial": partial, "Any": Any, "Mapping": Mapping, "SAE": Any, "ActivationsStore": Any,
             "HookedRootModule": Any, "tqdm": lambda x, **_: x, "math": __import__("math")}
    exec(compile(tree, str(CORE / "main.py"), "exec"), space)
    return SimpleNamespace(**{name: space[name] for name in names})


class Model:
    """What SAEBench asks of TransformerLens, answered by `dmsae lm trace`."""

    def __init__(self, work):
        self.work = Path(work)

    def trace(self, tokens, replacement=None):
        ids, out, x = self.work / "t.safetensors", self.work / "o.safetensors", self.work / "x.safetensors"
        save_file({"input_ids": tokens.contiguous()}, ids)
        more = []
        if replacement is not None:
            save_file({"activations": replacement.contiguous()}, x)
            more = ["--replace", x]
        dmsae("lm", "trace", "--model", MODEL, "--layer", LAYER, "--tokens", ids, "--out", out, "--logits", *more)
        return load_file(out)

    def answer(self, tokens, traced):
        logits = traced["logits"]
        losses = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        return logits, losses.reshape(len(tokens), -1)

    def __call__(self, tokens, return_type, loss_per_token):
        return self.answer(tokens, self.trace(tokens))

    def run_with_hooks(self, tokens, return_type, fwd_hooks, loss_per_token):
        ((name, hook),) = fwd_hooks
        assert name == HOOK
        return self.answer(tokens, self.trace(tokens, hook(self.trace(tokens)["activations"], None)))

    def run_with_cache(self, tokens, **_):
        return None, {HOOK: self.trace(tokens)["activations"]}


class SAE:
    """A JumpReLU SAE of an SAELens folder."""

    def __init__(self, folder):
        t = load_file(folder / "sae_weights.safetensors")
        self.W_enc, self.b_enc, self.W_dec, self.b_dec = (t[n] for n in ("W_enc", "b_enc", "W_dec", "b_dec"))
        self.threshold, self.device = t["threshold"], "cpu"
        self.cfg = SimpleNamespace(hook_name=HOOK, hook_head_index=None, hook_layer=LAYER, d_sae=len(self.b_enc), architecture_str="jumprelu")

    def encode(self, x):
        p = (x - self.b_dec) @ self.W_enc + self.b_enc
        return torch.where(p > self.threshold, p, 0)

    def decode(self, f):
        return f @ self.W_dec + self.b_dec


class Tokens:
    def __init__(self, rows):
        self.rows, self.next = rows, 0

    def get_batch_tokens(self, count):
        self.next += count
        return self.rows[self.next - count : self.next]


def wanted(bench, sae, model, rows, specials):
    """What SAEBench makes of it, by category."""
    batches = -(-len(rows) // BATCH)
    common = dict(n_batches=batches, eval_batch_size_prompts=BATCH, ignore_tokens=specials)
    losses = bench.get_downstream_reconstruction_metrics(
        sae, model, Tokens(rows), compute_kl=True, compute_ce_loss=True, exclude_special_tokens_from_reconstruction=True, **common)
    others, features = bench.get_sparsity_and_variance_metrics(
        sae, model, Tokens(rows), compute_l2_norms=True, compute_sparsity_metrics=True, compute_variance_metrics=True,
        compute_featurewise_density_statistics=True, model_kwargs={}, **common)
    features |= bench.get_featurewise_weight_based_metrics(sae)
    return losses | others | bench.calculate_misc_metrics(features), bench.replace_nans_with_negative_one(features)


def main(work):
    work = Path(work)
    torch.manual_seed(0)
    train = torch.randint(3, 320, (40, CONTEXT))
    # Sequences that begin and end with special tokens, and a last batch that is not full.
    rows = torch.randint(3, 320, (10, CONTEXT))
    rows[:, 0], rows[3, 10], rows[7, -1] = 1, 2, 2
    save_file({"input_ids": rows}, work / "rows.safetensors")
    model = Model(work)
    save_file({"x": model.trace(train)["activations"].flatten(0, 1).contiguous()}, work / "x.safetensors")
    dmsae("train", "--activations", work / "x.safetensors", "--groups", "32,32,64", "--k", "6", "--batch", "64", "--steps", "60",
          "--threshold-start", "10", "--out", work / "sae")
    dmsae("eval", "core", "--model", MODEL, "--sae", work / "sae", "--layer", LAYER, "--text", work / "rows.safetensors", "--context", CONTEXT,
          "--sequences", BATCH, "--tokens", rows.numel(), "--keep-first", "0", "--sinks", "off", "--out", work / "core.json", "--quiet")
    record = json.loads((work / "core.json").read_text())
    jsonschema.validate(record, json.loads((CORE / "eval_output_schema_core.json").read_text()))
    print("eval core: valid by eval_output_schema_core.json")

    expected, features = wanted(sae_bench(), SAE(work / "sae"), model, rows, {1, 2})
    found = {name: value for group in record["eval_result_metrics"].values() for name, value in group.items()}
    extra = record["eval_result_unstructured"]["dmsae"]
    # What SAEBench calls explained variance goes by another name here, and the right one is right.
    found["explained_variance"], right = extra["explained_variance_of_sae_bench_0_6"], found["explained_variance"]
    sae = SAE(work / "sae")
    kept = (rows != 1) & (rows != 2)
    x = model.trace(rows)["activations"][kept].numpy().astype(numpy.float64)
    y = sae.decode(sae.encode(model.trace(rows)["activations"][kept])).numpy().astype(numpy.float64)
    expected["right explained variance"] = 1 - ((x - y) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    found["right explained variance"] = right
    failures = 0
    for name, value in expected.items():
        good = abs(found[name] - value) <= TOLERANCE * max(1, abs(value))
        failures += not good
        print(f"{'ok  ' if good else 'FAIL'} {name} {found[name]:.6g} {value:.6g}")
    for name, values in features.items():
        off = max(abs(latent[name] - value) for latent, value in zip(record["eval_result_details"], values, strict=True))
        failures += off > TOLERANCE
        print(f"{'ok  ' if off <= TOLERANCE else 'FAIL'} latents' {name}, at most {off:.1e} off")
    assert 0 < expected["frac_alive"] < 1 and min(features["consistent_activation_heuristic"]) == -1
    if failures:
        raise SystemExit(f"{failures} measures differ from SAEBench's")


with tempfile.TemporaryDirectory() as folder:
    main(folder)
