"""Writes SAEs with `dmsae` in every format that it writes, loads them with the libraries whose formats these are, and compares
encodings, active latents and reconstructions.

    check.py PROGRAM

SAEs are trained here, with every shipped rule, a core and another one, or are folders that other libraries wrote (Tests/Fixtures).
What is compared is what the reader makes of the file that was converted with what `dmsae encode` and `decode` make of the one that
it was converted from. A format that cannot hold an SAE must say so; which those are stands below, too. What a training logs for TensorBoard is read by that.
"""
import os

# No accelerator and no hub is needed.
os.environ |= {"SPARSIFY_DISABLE_TRITON": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
import contextlib, io, json, shutil, subprocess, sys, tempfile, warnings
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

warnings.filterwarnings("ignore")
PROGRAM = os.path.abspath(sys.argv[1])
ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "Tests" / "Fixtures"
# Roundings of single precision, of the largest value.
TOLERANCE = 1e-5


def dmsae(*arguments, fails=None):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if fails is None and done.returncode != 0:
        raise SystemExit(f"dmsae {' '.join(map(str, arguments))}\n{done.stderr}")
    if fails is not None and (done.returncode == 0 or fails not in done.stderr):
        raise SystemExit(f"dmsae {' '.join(map(str, arguments))} should have said \"{fails}\":\n{done.stderr}")
    return done.stderr if fails else done.stdout


def by_sae_lens(folder):
    from sae_lens import SAE

    sae = SAE.load_from_disk(folder)

    def encode(x):
        codes = sae.encode(x)
        return codes.to_dense() if codes.is_sparse else codes

    return encode, sae.decode


def by_dictionary_learning(folder):
    from dictionary_learning.utils import load_dictionary

    # Mapped and not, and without running anything.
    plain = torch.load(f"{folder}/ae.pt", weights_only=True)
    mapped = torch.load(f"{folder}/ae.pt", weights_only=True, mmap=True)
    assert plain.keys() == mapped.keys() and all(torch.equal(plain[name], mapped[name]) for name in plain)
    dictionary, _ = load_dictionary(str(folder), "cpu")
    return dictionary.encode, dictionary.decode


def by_sparsify(folder):
    with contextlib.redirect_stdout(io.StringIO()):  # Says how it decodes.
        from sparsify import SparseCoder
    coder = SparseCoder.load_from_disk(folder)

    def encode(x):
        out = coder.encode(x)
        return torch.zeros(len(x), coder.num_latents).scatter(1, out.top_indices, out.top_acts)

    def decode(codes):
        top = codes.topk(coder.cfg.k, dim=1)
        return coder.decode(top.values, top.indices)

    return encode, decode


READERS = {"saelens": by_sae_lens, "dictionary_learning": by_dictionary_learning, "sparsify": by_sparsify}
THRESHOLDS = {"sparsify": "it selects by thresholds"}
# Each SAE with the formats that cannot hold it, and why.
TRAINED = {
    "batchtopk": (["--sparsity", "batchtopk"], THRESHOLDS),
    "topk": (["--sparsity", "topk"], {}),
    "jumprelu": (["--sparsity", "jumprelu"], THRESHOLDS | {"dictionary_learning": "it has no threshold that all latents share"}),
}
WRITTEN_BY_OTHERS = {
    "saelens/standard": THRESHOLDS,
    "saelens/gated": THRESHOLDS | {"dictionary_learning": "it has no threshold that all latents share"},
    "saelens/topk": {},
    "saelens/topk_rescaled": {},
    "saelens/matryoshka_training": THRESHOLDS,
    "saelens/from_matryoshka_training": THRESHOLDS,
    "saelens/jumprelu_no_sub": THRESHOLDS,
    "dictionary_learning/matryoshka_batchtopk": THRESHOLDS,
    "dictionary_learning/batchtopk": THRESHOLDS,
    "dictionary_learning/topk": {},
    "dictionary_learning/jumprelu": THRESHOLDS,
    "dictionary_learning/standard": THRESHOLDS,
    "dictionary_learning/gated": THRESHOLDS | {"dictionary_learning": "it has no threshold that all latents share"},
    "sparsify/layers.15": {},
    "openai/resid_post_mlp/autoencoders/15.pt": THRESHOLDS,
    "gemma_scope/layer_15/stored": THRESHOLDS,
    "gemma_scope_2/resid_post/layer_15_width_128_l0_small": THRESHOLDS,
}


def difference(found, wanted):
    """The largest difference, of the largest value; NaN is one."""
    off = (found.double() - wanted.double()).abs().max() / wanted.double().abs().max()
    return off.item() if off.isfinite() else float("inf")


def compare(name, source, x, refused, work):
    """Lines of the table for one SAE."""
    inputs, latents, outputs = work / "x", work / "f", work / "y"
    save_file({"x": x}, inputs)
    dmsae("encode", "--sae", source, "--input", inputs, "--out", latents)
    dmsae("decode", "--sae", source, "--input", latents, "--out", outputs)
    codes, decoded = load_file(latents)["latents"], load_file(outputs)["x"]
    assert (codes > 0).sum() >= len(x), f"{name}: hardly anything fires"
    failures = 0
    for number, (format, reader) in enumerate(READERS.items()):
        folder = work / f"{name.replace('/', '_')}-{format}"
        if format in refused:
            said = dmsae("convert", source, folder, "--to", format, fails=f"{format} cannot hold this SAE: {refused[format]}")
            print(f"{name:55} {format:20} refused: {said.split('this SAE: ')[1].strip()}")
            continue
        dmsae("convert", source, folder, "--to", format)
        encode, decode = reader(folder)
        with torch.no_grad():
            theirs = encode(x)
            encoding, decoding = difference(theirs, codes), difference(decode(theirs), decoded)
        other = int(((theirs > 0) != (codes > 0)).sum())
        wrong = other > 0 or encoding > TOLERANCE or decoding > TOLERANCE
        failures += wrong
        print(
            f"{name:55} {format:20} L0 {(codes > 0).sum().item() / len(x):6.2f}, {other} active in one alone, encodings "
            f"{encoding:.1e}, reconstructions {decoding:.1e}{'   WRONG' if wrong else ''}")
    return failures


def train(work):
    """(name, folder, activations, what is refused) for SAEs of a tiny model: one a rule, and one with a dense core."""
    subprocess.run([ROOT / ".ci" / "tiny", work], check=True)
    model, text = work / "model", work / "text.txt"
    dmsae("harvest", "--model", model, "--layer", "1", "--text", text, "--tokens", "2048", "--context", "32", "--out", work / "store")
    activations = load_file(next((work / "store").glob("shard-*.safetensors")))
    x = next(iter(activations.values()))[:64].float().contiguous()
    common = ["train", "--activations", work / "store", "--batch", "64", "--k", "8", "--threshold-start", "10"]
    for name, (options, refused) in TRAINED.items():
        dmsae(*common, "--groups", "32,32,64", "--steps", "60", *options, "--out", work / name)
        yield name, work / name, x, refused
    ids, scores = work / "ids", work / "scores"
    dmsae("lm", "tokenize", "--model", model, "--text", text, "--rows", "4", "--context", "32", "--out", ids)
    dmsae("score", "--model", model, "--sae", work / "batchtopk", "--tokens", ids, "--out", scores)
    dmsae("select", "--scores", scores, "--tau", "0.3", "--sae", work / "batchtopk", "--out", work / "core")
    dmsae(*common, "--core", work / "core" / "core.json", "--core-decoder-init", "encoder", "--groups", "32,32,64", "--steps", "60",
          "--out", work / "with-core")
    yield "with a dense core", work / "with-core", x, THRESHOLDS | {"dictionary_learning": "the "}


def without_subtraction(folder):
    """The ReLU SAE of SAELens, of x and not of x − b_dec."""
    shutil.copytree(FIXTURES / "saelens" / "standard", folder)
    configuration = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(configuration | {"apply_b_dec_to_input": False}))
    return folder


def logged_otherwise(work):
    """How many numbers TensorBoard reads otherwise than events.jsonl has them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = work / "logged"
    dmsae("train", "--activations", work / "store", "--batch", "64", "--k", "8", "--groups", "32,32,64", "--steps", "60",
          "--log", "tensorboard", "--out", out)
    steps = [json.loads(line)["record"] for line in (out / "events.jsonl").read_text().splitlines()]
    shown = EventAccumulator(str(out)).Reload()
    names = {"loss/total": "loss", "loss/auxiliary": "auxiliaryLoss", "L0/core": "meanActiveCore", "L0/non_core": "meanActiveNonCore",
             "latents/dead": "deadCount", "training/learning_rate": "learningRate", "training/gradient_norm": "gradientNorm",
             "training/threshold": "threshold", "training/least_selected": "leastSelected"}
    wanted = {tag: {step["step"]: step[name] for step in steps if step.get(name) is not None} for tag, name in names.items()}
    wanted |= {f"loss_by_prefix/{i + 1}": {step["step"]: step["prefixLosses"][i] for step in steps} for i in range(3)}
    found = {tag: {e.step: e.value for e in shown.Scalars(tag)} for tag in shown.Tags()["scalars"]}
    wrong = found.keys() ^ wanted.keys()
    for tag in found.keys() & wanted.keys():
        # Single precision.
        near = lambda step: abs(found[tag][step] - wanted[tag][step]) <= 1e-7 * abs(wanted[tag][step])
        if found[tag].keys() != wanted[tag].keys() or not all(map(near, found[tag])):
            wrong |= {tag}
    print(f"{len(found)} curves of {len(steps)} steps by TensorBoard" + (f", other than logged: {sorted(wrong)}" if wrong else ""))
    return len(wrong)


with tempfile.TemporaryDirectory() as folder:
    work = Path(folder)
    failures = sum(compare(name, sae, x, refused, work) for name, sae, x, refused in train(work))
    failures += logged_otherwise(work)
    x = 1.5 * torch.randn(64, 32, generator=torch.Generator().manual_seed(6))
    for name, refused in WRITTEN_BY_OTHERS.items():
        failures += compare(name, FIXTURES / name, x, refused, work)
    failures += compare("standard, of x alone", without_subtraction(work / "of-x"), x, THRESHOLDS, work)
print(f"{failures} differences" if failures else "every reader computes what dmsae computes")
sys.exit(failures > 0)
