"""Reads what `dmsae latents --export` wrote with the tools that it is for, and computes its numbers again with their code.

    exports.py PROGRAM FOLDER [NEURONPEDIA]

FOLDER has the packages of exports.txt, NEURONPEDIA is a checkout of github.com/hijohnnylin/neuronpedia, whose converter makes of our files
for SAEDashboard what we write for it ourselves. The activations come from transformers and SAELens, which share nothing with ours.
"""
import os

os.environ |= {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TQDM_DISABLE": "1"}
import gzip, json, subprocess, sys, tempfile, warnings
from pathlib import Path

PROGRAM, FOLDER = os.path.abspath(sys.argv[1]), Path(sys.argv[2])
NEURONPEDIA = Path(sys.argv[3]).resolve() if len(sys.argv) > 3 else None
sys.path.append(str(FOLDER))
warnings.filterwarnings("ignore")
import numpy as np, torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parents[2]
LAYER, CONTEXT = 1, 32
failures = 0


def dmsae(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"dmsae {' '.join(map(str, arguments))}\n{done.stderr}")
    return done.stdout


def check(what, found, wanted, tolerance=0.0):
    """Counts and says what is otherwise: numbers by their largest difference, all else by equality."""
    global failures
    if tolerance:
        found, wanted = np.asarray(found, float), np.asarray(wanted, float)
        off = np.abs(found - wanted).max() / max(1e-30, np.abs(wanted).max()) if found.shape == wanted.shape and found.size else float(found.shape != wanted.shape)
        wrong = not off <= tolerance
        said = f"{off:.1e}"
    else:
        wrong, said = found != wanted, "the same"
    failures += wrong
    if wrong or what not in check.said:
        print(f"{what:70} {'WRONG ' if wrong else ''}{said if not wrong or tolerance else f'{str(found)[:200]} and not {str(wanted)[:200]}'}")
    check.said.add(what)


check.said = set()


def prepare(work):
    """A tiny model, an SAE with a core, scores by two methods, and the three exports of it."""
    subprocess.run([ROOT / ".ci" / "tiny", work], check=True)
    model, text, sae, ids = work / "model", work / "text.txt", work / "sae", work / "ids"
    dmsae("harvest", "--model", model, "--layer", LAYER, "--text", text, "--tokens", 4096, "--context", CONTEXT, "--out", work / "store")
    dmsae("train", "--activations", work / "store", "--batch", 256, "--k", 8, "--groups", "32,32,64", "--steps", 60, "--lr", 3e-3,
          "--threshold-start", 10, "--out", sae)
    dmsae("lm", "tokenize", "--model", model, "--text", text, "--rows", 8, "--context", CONTEXT, "--out", ids)
    scores = []
    for name in ("gxa", "ablation"):
        scores += ["--scores", work / name]
        dmsae("score", "--model", model, "--sae", sae, "--tokens", ids, "--scorer", name, "--tau", 0.3, "--out", work / name)
    dmsae("select", "--scores", work / "gxa", "--tau", 0.3, "--sae", sae, "--out", work / "core")
    # Every position counts, as it does for the tools.
    everything = ["--keep-first", 0, "--keep-special", "no", "--sinks", "off"]
    for name in ("saedashboard", "neuronpedia", "delphi"):
        dmsae("latents", "--model", model, "--sae", sae, "--text", text, "--tokens", 2048, "--context", CONTEXT, *everything, "--core",
              work / "core" / "core.json", "--all", *scores, "--export", name, "--out", work / name, "--about", "set=res-tiny", "--about",
              "release=tiny", "--about", "title=A tiny SAE", "--about", "url=https://example.invalid", "--about", "creator=Nobody")
    dmsae("lm", "tokenize", "--model", model, "--text", text, "--rows", 2048 // CONTEXT, "--context", CONTEXT, "--out", work / "all")
    return model, sae, load_file(work / "all")["input_ids"]


def activations(model, sae, tokens):
    """f [S, T, F] by transformers and SAELens, and the parts that logits are made of."""
    from sae_lens import SAE

    language_model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    coder = SAE.load_from_disk(sae)
    with torch.no_grad():
        x = language_model(tokens, output_hidden_states=True).hidden_states[LAYER + 1]
        f = coder.encode(x.reshape(-1, x.shape[-1]))
    f = f.to_dense() if f.is_sparse else f
    head = language_model.lm_head.weight.detach() * language_model.model.norm.weight.detach()
    return f.reshape(*tokens.shape, -1), coder.W_dec.detach(), head


def delphi(work, model, f, tokens):
    from delphi.config import ConstructorConfig, SamplerConfig
    from delphi.latents.loader import LatentDataset, TensorBuffer

    raw = work / "delphi" / "latents"
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(model / "tokenizer.json"))
    dataset = LatentDataset(
        raw, SamplerConfig(n_examples_train=4, n_examples_test=4, n_quantiles=2),
        ConstructorConfig(example_ctx_len=16, min_examples=4, n_non_activating=4), tokenizer=tokenizer)
    check("Delphi: hookpoints", dataset.modules, [f"layers.{LAYER}"])
    check("Delphi: tokens", dataset.tokens.tolist(), tokens.tolist())
    found = torch.zeros_like(f)
    for buffer in dataset.buffers:
        for latent in buffer:
            data = latent.activation_data
            found[data.locations[:, 0], data.locations[:, 1], latent.latent.latent_index] = data.activations.float()
    # Half precision; firing is decided by thresholds of single precision, where two programs may differ.
    check("Delphi: activations", found, f, 1e-3)
    check("Delphi: which fire", int(((found > 0) != (f > 0)).sum()), 0)
    records = list(dataset)
    wanted = {j for j in range(f.shape[-1]) if (f[..., j].reshape(-1, 16) > 0).any(1).sum() >= 4}
    check("Delphi: latents with records", {r.latent.latent_index for r in records}, wanted)
    for record in records:
        check("Delphi: examples of a record", len(record.train) > 0 and len(record.test) > 0, True)
    some = {f"layers.{LAYER}": torch.tensor([3, 70, 127])}
    selected = LatentDataset(raw, SamplerConfig(), ConstructorConfig(example_ctx_len=16), tokenizer=tokenizer, latents=some)
    check("Delphi: buffers of three chosen latents", len(selected.buffers), 3)


def saedashboard(work, f, decoder, head):
    from sae_dashboard.components import ActsHistogramData, LogitsHistogramData
    from sae_dashboard.neuronpedia.neuronpedia_dashboard import NeuronpediaDashboardBatch
    from sae_dashboard.neuronpedia.neuronpedia_runner_config import NeuronpediaRunnerConfig
    from sae_dashboard.utils_fns import TopK

    folder = work / "saedashboard"
    settings = NeuronpediaRunnerConfig(**json.loads((folder / "run_settings.json").read_text()))
    check("SAEDashboard: settings", (settings.n_prompts_total, settings.n_tokens_in_prompt, settings.layer), (*f.shape[:2], LAYER))
    alive = [j for j in range(f.shape[-1]) if (f[..., j] > 0).any()]
    skipped = json.loads((folder / "skipped_indexes.json").read_text())["skipped_indexes"]
    check("SAEDashboard: skipped", skipped, sorted(set(range(f.shape[-1])) - set(alive)))
    written = json.loads((folder / "batch-0.json").read_text())
    batch = NeuronpediaDashboardBatch(**written)
    check("SAEDashboard: what its reader has is what was written", json.loads(json.dumps(batch.to_dict())), written)
    check("SAEDashboard: features", [feature.feature_index for feature in batch.features], alive)
    flat = f.reshape(-1, f.shape[-1])
    correlations = np.nan_to_num(np.corrcoef(flat.double().numpy().T))
    np.fill_diagonal(correlations, -2)
    for feature in batch.features:
        j = feature.feature_index
        own = flat[:, j]
        firing = own[own > 0]
        histogram = ActsHistogramData.from_data(firing, 50, "5 ticks", None)
        check("SAEDashboard: density", feature.frac_nonzero, len(firing) / len(own), 1e-6)
        # An activation at the border of two bins is in either.
        check("SAEDashboard: activations in bins", np.cumsum(feature.freq_hist_data_bar_heights), np.cumsum(histogram.bar_heights), 1.01 / len(firing))
        check("SAEDashboard: middles of bins", feature.freq_hist_data_bar_values, histogram.bar_values, 1e-4)
        logits = head @ decoder[j]
        spread = LogitsHistogramData.from_data(logits, 50, "5 ticks", None)
        check("SAEDashboard: logits in bins", np.cumsum(feature.logits_hist_data_bar_heights), np.cumsum(spread.bar_heights), 2.01 / len(logits))
        check("SAEDashboard: middles of logits' bins", feature.logits_hist_data_bar_values, spread.bar_values, 1e-4)
        check("SAEDashboard: promoted", feature.pos_values, TopK(logits, 10, largest=True).values, 1e-5)
        check("SAEDashboard: suppressed", feature.neg_values, TopK(logits, 10, largest=False).values, 1e-5)
        aligned = TopK(decoder[j], 3, largest=True)
        check("SAEDashboard: aligned neurons", feature.neuron_alignment_indices, aligned.indices.tolist())
        check("SAEDashboard: their shares", feature.neuron_alignment_l1, np.abs(aligned.values) / decoder[j].abs().sum().numpy(), 1e-5)
        best = np.sort(correlations[j])[::-1][:3]
        check("SAEDashboard: correlated features", feature.correlated_features_pearson, best[: len(feature.correlated_features_pearson)], 1e-5)
        groups(feature, f[..., j])


def groups(feature, own):
    """Contexts: of the highest, the highest of each prompt; of an interval, what lies in it."""
    top = [a for a in feature.activations if a.bin_contains == -1]
    peaks = own.max(1).values
    check("SAEDashboard: highest contexts", [max(a.values) for a in top], sorted(peaks[peaks > 0].tolist(), reverse=True)[:20], 1e-5)
    for a in feature.activations:
        value = a.values[a.qualifying_token_index]
        if a.bin_contains == -1:
            check("SAEDashboard: the qualifying token is the highest", value, max(a.values))
            continue
        check("SAEDashboard: the qualifying token is in its interval", a.bin_min * (1 - 1e-6) < value <= a.bin_max * (1 + 1e-6), True)
        # As SAEDashboard counts them: silent tokens are in the lowest.
        share = ((own >= a.bin_min * (1 + 1e-6)) & (own <= a.bin_max * (1 + 1e-6))).float().mean().item()
        check("SAEDashboard: share of an interval", abs(a.bin_contains - share) < 2.5 / own.numel(), True)


def marks(work, f):
    core = json.loads((work / "core" / "core.json").read_text())["latents"]
    gxa, ablation = load_file(work / "gxa"), load_file(work / "ablation")
    for name in ("saedashboard", "neuronpedia", "delphi"):
        lines = [json.loads(line) for line in (work / name / "dmsae.jsonl").read_text().splitlines()]
        check("marks: latents", [line["latent"] for line in lines], [j for j in range(f.shape[-1]) if (f[..., j] > 0).any()])
        ranks = {latent["index"]: rank + 1 for rank, latent in enumerate(core)}
        for line in lines:
            j = line["latent"]
            check("marks: rank in the core", line.get("core_rank"), ranks.get(j))
            check("marks: birth", line.get("born"), core[ranks[j] - 1]["born"] if j in ranks else None)
            if j < len(gxa["scores"]):
                said = line["scores"]
                check("marks: scores by gradient", said["gxa"], gxa["scores"][j].item(), 1e-6)
                check("marks: loss change by ablation", said["ablation"], ablation["scores"][j].item(), 1e-6)


def lines(path):
    open_ = gzip.open if path.suffix == ".gz" else open
    with open_(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file.read().splitlines()]


def neuronpedia(work):
    """Our files for Neuronpedia against those that its converter makes of our files for SAEDashboard."""
    ours = work / "neuronpedia" / "model" / f"{LAYER}-res-tiny"
    utilities = NEURONPEDIA / "utils" / "neuronpedia-utils"
    subprocess.run(
        [sys.executable, utilities / "neuronpedia_utils" / "convert-saedashboard-to-neuronpedia-export.py",
         f"--saedashboard-output-dir={work / 'saedashboard'}", "--creator-name=Nobody", "--release-id=tiny", "--release-title=A tiny SAE",
         "--url=https://example.invalid", "--model-name=model", "--neuronpedia-source-set-id=res-tiny",
         "--neuronpedia-source-set-description=A tiny SAE", "--hf-weights-repo-id=", "--hf-weights-path=", "--hook-point=hook_resid_post",
         f"--layer-num={LAYER}", "--prompts-huggingface-dataset-path=text.txt", "--n-prompts-total=64", f"--n-tokens-in-prompt={CONTEXT}"],
        cwd=work, check=True, text=True, input="n\n",  # It asks whether to zero the beginning-of-sequence token.
        stdout=subprocess.DEVNULL,
        env=os.environ | {"DEFAULT_CREATOR_ID": "clkht01d40000jv08hvalcvly", "PYTHONPATH": f"{utilities}:{FOLDER}:{os.environ.get('PYTHONPATH', '')}"})
    theirs = work / "exports" / "model" / f"{LAYER}-res-tiny"
    check("Neuronpedia: files", *({str(p.relative_to(base)) for p in base.rglob("*") if p.is_file()} for base in (ours, theirs)))
    # Ids and times are each its own; these we know and the converter does not, or leave to the database's defaults.
    better = {"id", "createdAt", "updatedAt", "topkCosSimIndices", "topkCosSimValues", "sourceSetName", "dmsae", "layers", "notes"}
    for path in sorted(theirs.rglob("*.jsonl*")):
        what = f"Neuronpedia: {path.parent.name if path.suffix == '.gz' else path.name}"
        mine, own = lines(ours / path.relative_to(theirs)), lines(path)
        check(f"{what}, lines", len(mine), len(own))
        for a, b in zip(mine, own):
            # The database has indices as text.
            a, b = ({k: str(v) if k == "index" else v for k, v in line.items() if k not in better} for line in (a, b))
            check(f"{what} as its converter has them", a, {k: b.get(k) for k in a})
            check(f"{what}, members left to defaults", {k for k in b.keys() - a.keys() if b[k] not in (None, [], False, True, 0, 1, "")}, set())
    ids = [line["id"] for line in lines(ours / "activations" / "batch-0.jsonl.gz")]
    check("Neuronpedia: ids", (len(set(ids)), {len(i) for i in ids}), (len(ids), {25}))


with tempfile.TemporaryDirectory() as folder:
    work = Path(folder)
    model, sae, tokens = prepare(work)
    f, decoder, head = activations(model, sae, tokens)
    assert (f > 0).sum() > len(tokens) * CONTEXT, "hardly anything fires"
    delphi(work, model, f, tokens)
    saedashboard(work, f, decoder, head)
    marks(work, f)
    if NEURONPEDIA:
        neuronpedia(work)
    else:
        print("Neuronpedia's converter was not there to compare with; DMSAE_NEURONPEDIA names a checkout")
print(f"{failures} differences" if failures else "every tool reads what dmsae wrote for it")
sys.exit(failures > 0)
