"""Measures of `dmsae eval synthetic` against SAELens' own functions, on a world of known features and an SAE trained in it.

usage: synthetic.py DMSAE
"""
import json
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.numpy import load_file
from sae_lens.synthetic.evals import (
    compute_classification_metrics,
    feature_uniqueness,
    mean_correlation_coefficient,
)


def main():
    program = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        run = lambda *words: subprocess.run([program, *words, "--quiet"], check=True, capture_output=True, text=True).stdout
        world = folder + "/world"
        run("synthetic", "--out", world, "--tokens", "40000", "--set", "features=96", "--set", "width=32")
        sae = folder + "/sae"
        run(
            "train", "--model", world, "--layer", "0", "--text", world + "/text/train.safetensors", "--context", "64", "--width", "128",
            "--groups", "32,96", "--k", "8", "--batch", "256", "--steps", "600", "--lr", "3e-3", "--out", sae)
        found = json.loads(run("eval", "synthetic", "--model", world, "--sae", sae, "--tokens", "4000", "--json"))["findings"]

        truth = load_file(world + "/truth/features.safetensors")
        ids = load_file(world + "/text/test.safetensors")["input_ids"]
        rows, length = ids.shape
        offsets = truth["test.offsets"]
        z = np.zeros((rows * length, len(truth["directions"])), np.float32)
        for p in range(rows * length):
            z[p, truth["test.features"][offsets[p] : offsets[p + 1]]] = truth["test.magnitudes"][offsets[p] : offsets[p + 1]]
        x = truth["bias"] + z @ truth["directions"]
        weights = load_file(sae + "/sae_weights.safetensors")
        threshold = json.load(open(sae + "/cfg.json"))
        threshold = threshold.get("threshold", weights.get("threshold"))
        p = np.maximum(0, (x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"])
        f = np.where(p > threshold, p, 0).astype(np.float32)
        # As many whole sequences as 4,000 tokens take, without their first positions.
        kept = [r * length + t for r in range(-(-4000 // length)) for t in range(1, length)]
        z, f, x = z[kept], f[kept], x[kept]
        decoder, directions = torch.tensor(weights["W_dec"]), torch.tensor(truth["directions"])
        classes = compute_classification_metrics(torch.tensor(f), torch.tensor(z), decoder, directions)
        reconstruction = f @ weights["W_dec"] + weights["b_dec"]
        wanted = {
            "tokens": len(kept),
            "true_l0": (z > 0).sum() / len(kept),
            "sae_l0": (f > 0).sum() / len(kept),
            "dead_latents": int(((f > 0).sum(0) == 0).sum()),
            "shrinkage": (np.linalg.norm(reconstruction, axis=1) / np.linalg.norm(x, axis=1)).mean(),
            "explained_variance": 1 - ((x - reconstruction) ** 2).sum() / ((x - x.mean(0)) ** 2).sum(),
            "mcc": mean_correlation_coefficient(decoder, directions),
            "uniqueness": feature_uniqueness(decoder, directions),
            "precision": classes.precision,
            "recall": classes.recall,
            "f1_score": classes.f1_score,
            "accuracy": classes.accuracy,
        }
        found |= found["classification"]
        worst = 0.0
        for name, value in wanted.items():
            # A latent at its threshold may fire there and not here: of 4,000 positions one, of one latent.
            difference = abs(float(value) - found[name])
            print(f"{name:20} {found[name]:.6f} {float(value):.6f}")
            if difference > 1e-4 * max(1, abs(value)):
                raise SystemExit(f"{name} is {found[name]}, and {value} by SAELens")
            worst = max(worst, difference)
        print(f"synthetic: {len(wanted)} measures within {worst:.1e} of SAELens' own functions")


main()
