"""Runs the script of `dmsae export saebench` with SAEBench's own code.

    saebench.py PROGRAM FOLDER

FOLDER has the packages of measures.txt. What needs no model runs to its end; the others up to where they ask the Hub for one.
"""
import json, os, subprocess, sys, tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from sae_lens import SAE

PROGRAM, FOLDER = os.path.abspath(sys.argv[1]), Path(sys.argv[2])
sys.path.append(str(FOLDER))
import jsonschema

# What a library of the Hub's says where it may not ask.
HUB = ["huggingface", "offline", "LocalEntryNotFound", "OfflineModeIsEnabled", "couldn't connect", "Hub"]
# tpp is scr's, and sparse_probing asks likewise; the others want packages that are not among the peers: openai and xgboost.
ASKING = ["absorption", "scr", "ravel"]
# Another trainer from another start: the share of variance that is explained.
TOLERANCE = 0.05


def dmsae(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"dmsae {' '.join(map(str, arguments))}\n{done.stderr}")


def run(folder, evaluation):
    """Exit code and the end of what was said; with nothing in the Hub's cache, and no way to it."""
    environment = os.environ | {"PYTHONPATH": str(FOLDER), "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, folder / "run.py", evaluation], capture_output=True, text=True, env=environment)
    return done.returncode, (done.stdout + done.stderr)[-6000:]


def main(work):
    work, failures = Path(work), 0
    torch.manual_seed(0)
    save_file({"x": torch.randn(4096, 32)}, work / "x.safetensors")
    dmsae("train", "--activations", work / "x.safetensors", "--groups", "64,64,128", "--k", "8", "--batch", "256", "--steps", "100",
          "--threshold-start", "20", "--out", work / "sae", "--quiet")
    # Rows of other norms: SAEBench warns of them, and absorption would be another.
    weights = load_file(work / "sae" / "sae_weights.safetensors")
    scale = torch.rand(256, 1) + 0.5
    other = weights | {"W_dec": weights["W_dec"] * scale, "W_enc": weights["W_enc"] / scale.T, "b_enc": weights["b_enc"] / scale[:, 0],
                       "threshold": weights["threshold"] / scale[:, 0]}
    save_file({name: tensor.contiguous() for name, tensor in other.items()}, work / "sae" / "sae_weights.safetensors")
    # As another program's: thresholds are not those that dmsae wrote.
    configuration = json.loads((work / "sae" / "cfg.json").read_text())
    del configuration["metadata"]["dmsae"]
    (work / "sae" / "cfg.json").write_text(json.dumps(configuration))
    dmsae("export", "saebench", "--sae", work / "sae", "--model-name", "gemma-2-2b", "--layer", "12", "--out", work / "bench", "--quiet")
    sae = SAE.load_from_disk(work / "bench" / "sae")
    x = torch.randn(64, 32)
    p = (x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]
    f = torch.where(p > weights["threshold"], p, 0)
    off = (sae.encode(x) - f).abs().max().item()
    norms = (sae.W_dec.norm(dim=1) - 1).abs().max().item()
    failures += off > 1e-4 or norms > 1e-5
    print(f"SAELens reads what SAEBench will: codes at most {off:.1e} off, norms {norms:.1e}")

    code, said = run(work / "bench", "meta_structure")
    results = list((work / "bench" / "eval_results" / "meta_structure").glob("*.json"))
    if code or len(results) != 1:
        raise SystemExit(f"run.py meta_structure ended with {code}\n{said}")
    record = json.loads(results[0].read_text())
    schema = FOLDER / "sae_bench/evals/meta_structure/eval_output_schema_meta_structure_decoder_variance.json"
    jsonschema.validate(record, json.loads(schema.read_text()))
    assert "not normalized" not in said and record["sae_lens_release_id"] == "bench" and record["sae_cfg_dict"]["d_sae"] == 256
    theirs = record["eval_result_metrics"]["meta_structure"]["decoder_fraction_variance_explained"]
    dmsae("eval", "meta", "--sae", work / "sae", "--out", work / "meta.json", "--quiet")
    record = json.loads((work / "meta.json").read_text())
    jsonschema.validate(record, json.loads(schema.read_text()))
    ours = record["eval_result_metrics"]["meta_structure"]["decoder_fraction_variance_explained"]
    good = abs(ours - theirs) <= TOLERANCE
    failures += not good
    print(f"{'ok  ' if good else 'FAIL'} meta structure explains {ours:.4f}, by run.py meta_structure {theirs:.4f}; of random rows",
          record["eval_result_unstructured"]["dmsae"]["controls"])
    for evaluation in ASKING:
        code, said = run(work / "bench", evaluation)
        good = code != 0 and any(word in said for word in HUB)
        failures += not good
        print(f"{'ok  ' if good else 'FAIL'} run.py {evaluation} asks the Hub:", said.strip().rsplit("\n", 1)[-1][:120])
        if not good:
            print(said)
    if failures:
        raise SystemExit(f"{failures} parts of the export do not run")


with tempfile.TemporaryDirectory() as folder:
    main(folder)
