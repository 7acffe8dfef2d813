"""Holds `dmsae eval absorption` against SAEBench's own code and schema.

    absorption.py PROGRAM FOLDER

FOLDER has the packages of measures.txt. The model is a small random Llama whose embeddings tell first letters, its tokenizer one of drawn
words. SAEBench's functions are asked twice: for each word, about the same activations, probes and main latents, where all must agree; and for
everything from the vocabulary on, with draws of its own, where scores must be as near as two seeds of ours are.
"""
import json, os, random, subprocess, sys, tempfile

os.environ["TQDM_DISABLE"] = "1"
from pathlib import Path
from types import SimpleNamespace

import numpy, torch

PROGRAM, FOLDER = os.path.abspath(sys.argv[1]), Path(sys.argv[2])
sys.path.append(str(FOLDER))
import jsonschema
from safetensors.torch import load_file, save_file
from sae_bench.evals.absorption import feature_absorption, k_sparse_probing, main, probing, vocab
from sae_bench.evals.absorption.feature_absorption_calculator import FeatureAbsorptionCalculator
from sae_lens import SAE
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

LAYER, WIDTH, QUESTION = 1, 64, "{word} has the first letter:"
# So few words make few steps of the usual 4096, and latents would be ordered by where Adam began.
BATCH = 256
LETTERS = vocab.LETTERS


def dmsae(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"dmsae {' '.join(map(str, arguments))}\n{done.stderr}")
    return done.stdout


def make_model(folder):
    """A vocabulary of drawn words, and a model in which a word's first letter can be seen."""
    draw = random.Random(3)
    words = {"".join(draw.choice(LETTERS) for _ in range(draw.randint(2, 5))) for _ in range(1200)}
    corpus = [f" {word} {word.capitalize()}\n{word}\n has the first letter: {word[0].upper()}\n" for word in sorted(words)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=4000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<s>"], show_progress=False))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<s>")
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(fast), hidden_size=WIDTH, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4,
        max_position_embeddings=256))
    letters = torch.nn.functional.normalize(torch.randn(26, WIDTH), dim=1)
    with torch.no_grad():
        for token, i in fast.get_vocab().items():
            text = fast.convert_tokens_to_string([token]).strip()
            vector = 0.35 * torch.randn(WIDTH) / WIDTH**0.5
            if text.isascii() and text.isalpha():
                vector += 0.6 * letters[LETTERS.index(text[0].lower())]
            model.model.embed_tokens.weight[i] = vector
    model.save_pretrained(folder)
    return fast, model.eval()


class Model:
    """What SAEBench asks of TransformerLens, answered by transformers, at the last six tokens of each prompt."""

    def __init__(self, tokenizer, model):
        self.tokenizer, self.model, self.cfg = tokenizer, model, SimpleNamespace(model_name="tiny", d_model=WIDTH)

    def to_tokens(self, text):
        # SAEBench refuses prompts of unlike lengths, since it would pad them to the right; here none is padded.
        return torch.zeros(1, 1)

    @torch.no_grad()
    def run_with_cache(self, prompts, names_filter):
        rows = [self.tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
        last = [None] * len(rows)
        for length in {len(row) for row in rows}:
            group = [i for i, row in enumerate(rows) if len(row) == length]
            hidden = self.model.model(torch.tensor([rows[i] for i in group]), output_hidden_states=True).hidden_states[LAYER + 1]
            for i, h in zip(group, hidden):
                last[i] = h[-6:]
        return None, {names_filter[0]: torch.stack(last)}


class Kept:
    """The activations that `dmsae` looked at, in the order in which it is asked about their words."""

    tokenizer = None

    def __init__(self, rows):
        self.rows = iter(rows)

    def to_tokens(self, text):
        return torch.zeros(1, 1)

    def run_with_cache(self, prompts, names_filter):
        return None, {names_filter[0]: torch.stack([next(self.rows) for _ in prompts])[:, None, :]}


def check(name, good, *values):
    print(f"{'ok  ' if good else 'FAIL'} {name}", *values)
    return not good


def word_by_word(record, kept, sae):
    """Same activations, probes, main latents: SAEBench's calculator."""
    extra = record["eval_result_unstructured"]["dmsae"]["summary"]
    words = bytes(kept["words"].tolist()).decode().split("\n")
    tested = words[len(kept["train"]):]
    spelled = kept["spelled"].tolist()
    found = {}
    for word in extra["words"]:
        assert word["word"] not in found
        found[word["word"]] = word
    off, wrong, seen = 0.0, 0, 0
    details = {detail["first_letter"]: detail for detail in record["eval_result_details"]}
    for letter in extra["letters"]:
        index = LETTERS.index(letter["letter"])
        own = [(tested[row], x) for row, x in zip(spelled, kept["again"]) if tested[row].strip()[0].lower() == letter["letter"]]
        calculator = FeatureAbsorptionCalculator(
            Kept([x for _, x in own]), ["sun", "moon"], max_icl_examples=1, base_template=QUESTION, word_token_pos=0,
            full_absorption_probe_cos_sim_threshold=feature_absorption.FULL_ABSORPTION_PROBE_COS_THRESHOLD,
            absorption_fraction_probe_cos_sim_threshold=feature_absorption.ABSORPTION_FRACTION_PROBE_COS_THRESHOLD,
            probe_projection_proportion_threshold=feature_absorption.ABSORPTION_PROBE_PROJECTION_PROPORTION_THRESHOLD,
            absorption_fraction_max_absorbing_latents=feature_absorption.ABSORPTION_FRACTION_MAX_ABSORBING_LATENTS)
        results = calculator.calculate_absorption(
            sae, [word for word, _ in own], kept["weights"][index], letter["main_latents"], LAYER, show_progress=False).word_results
        for (word, _), result in zip(own, results, strict=True):
            mine = found.get(word, {"fraction": 0, "full": False})
            off = max(off, abs(mine["fraction"] - float(result.absorption_fraction)))
            wrong += mine["full"] != result.is_full_absorption
            seen += 1
        detail = details[letter["letter"]]
        rate = sum(r.is_full_absorption for r in results) / len(results)
        mean = sum(float(r.absorption_fraction) for r in results) / len(results)
        assert detail["num_probe_true_positives"] == len(own) and abs(detail["full_absorption_rate"] - rate) < 1e-9, letter["letter"]
        assert abs(detail["mean_absorption_fraction"] - mean) < 1e-4, letter["letter"]
    # Single precision on both sides; a fraction divides by what the probe sees.
    return check(f"{seen} words, {len(found)} of them absorbed: fractions at most {off:.1e} off, {wrong} differ in full absorption",
                 off < 1e-4 and wrong == 0 and len(found) > 20)


def from_the_start(model, sae, work):
    """SAEBench's own evaluation, vocabulary and draws included."""
    random.seed(1), torch.manual_seed(1)
    common = dict(sae_name="sae", layer=LAYER, prompt_template=QUESTION, prompt_token_pos=-6, device="cpu", probes_dir=work / "probes")
    # What the first of the two leaves behind the second reads.
    metrics = k_sparse_probing.run_k_sparse_probing_experiment(
        model, sae, max_k_value=10, experiment_dir=work / "k_sparse", precalc_k_sparse_probe_sae_acts=True,
        k_sparse_probe_batch_size=BATCH, verbose=False, **common)
    raw = feature_absorption.run_feature_absortion_experiment(
        model, sae, max_k_value=10, experiment_dir=work / "absorption", sparse_probing_experiment_dir=work / "k_sparse", **common)
    table = main._aggregate_results_df(raw)
    table = table[table["letter"].isin(metrics[metrics["f1_probe"] > 0.6]["letter"])]
    return metrics, {"mean_absorption_fraction_score": table["mean_absorption_fraction"].mean(),
                     "mean_full_absorption_score": table["full_absorption_rate"].mean(),
                     "mean_num_split_features": table["num_split_feats"].mean()}


def probes(kept):
    """Probes of activations by SAEBench from another start, on the same words."""
    words = bytes(kept["words"].tolist()).decode().split("\n")
    letters = torch.tensor([LETTERS.index(word.strip()[0].lower()) for word in words])
    train, test = letters[: len(kept["train"])], letters[len(kept["train"]):]
    torch.manual_seed(2)
    peer = probing.train_multi_probe(kept["train"], torch.nn.functional.one_hot(train, 26), batch_size=64, num_epochs=50, lr=1e-2,
                                     weight_decay=1e-4, show_progress=False, device=torch.device("cpu"))
    W, V = kept["weights"], peer.weights.detach()
    cosines = torch.nn.functional.cosine_similarity(W, V, dim=1)
    scores = kept["test"] @ W.T + kept["biases"], peer(kept["test"]).detach()
    agree = ((scores[0] > 0) == (scores[1] > 0)).double().mean().item()
    # Where Adam stops hangs on the order of rows; what is said of words hardly does.
    return check(f"probes of letters: cosines {cosines.min():.4f} and more, the same said of {agree:.2%} of test words and letters",
                 cosines.min() > 0.95 and agree > 0.99)


def run(work):
    work = Path(work)
    tokenizer, llama = make_model(work / "model")
    common = ["eval", "absorption", "--model", work / "model", "--layer", LAYER, "--bos", "no", "--controls", "1", "--probe-batch", BATCH, "--quiet"]
    # Activations first: what the SAE learns from.
    (work / "text.txt").write_text("".join(
        f"\n {w} has the first letter: {w[0].upper()}" for w in vocab.get_alpha_tokens(tokenizer, allow_leading_space=False)))
    dmsae("harvest", "--model", work / "model", "--layer", LAYER, "--text", work / "text.txt", "--tokens", "20000", "--context", "64", "--bos",
          "no", "--out", work / "store", "--quiet")
    dmsae("train", "--activations", work / "store", "--groups", "64,128,320", "--k", "8", "--batch", "512", "--steps", "600", "--lr", "2e-3",
          "--threshold-start", "100", "--out", work / "sae", "--quiet")
    records = []
    for seed in 1, 2:
        dmsae(*common, "--sae", work / "sae", "--seed", seed, "--activations", work / f"kept-{seed}", "--out", work / f"{seed}.json")
        records.append(json.loads((work / f"{seed}.json").read_text()))
    schema = json.loads((FOLDER / "sae_bench/evals/absorption/eval_output_schema_absorption_first_letter.json").read_text())
    jsonschema.validate(records[0], schema)
    print("eval absorption: valid by eval_output_schema_absorption_first_letter.json")
    kept = load_file(work / "kept-1" / "spelling.safetensors")
    words = bytes(kept["words"].tolist()).decode().split("\n")
    failures = check(f"{len(words)} words are those of get_alpha_tokens", sorted(words) == sorted(vocab.get_alpha_tokens(tokenizer)))

    sae = SAE.load_from_disk(work / "sae", device="cpu")
    failures += word_by_word(records[0], kept, sae)
    failures += probes(kept)
    metrics, expected = from_the_start(Model(tokenizer, llama), sae, work)
    f1 = {letter["letter"]: letter for letter in records[0]["eval_result_unstructured"]["dmsae"]["summary"]["letters"]}
    pairs = [(f1[row["letter"]]["probe_f1"] - row["f1_probe"], f1[row["letter"]]["sparse_f1"][0] - row["f1_sparse_sae_1"])
             for _, row in metrics.iterrows() if row["letter"] in f1]
    dense, sparse = numpy.mean(pairs, axis=0)
    # Some 30 test words a letter: an F1 is known to .1, the mean over letters of a difference of two to .028, three times over.
    failures += check(f"F1 of {len(pairs)} letters: of probes {dense:+.4f}, of one latent {sparse:+.4f} beside SAEBench's, on average",
                      len(pairs) >= 20 and abs(dense) < 0.02 and abs(sparse) < 0.085)
    for name, value in expected.items():
        ours = [record["eval_result_metrics"]["mean"][name] for record in records]
        spread = record_spread(records[0], name)
        # Three standard errors over letters, of two evaluations that drew other words.
        failures += check(f"{name} {ours[0]:.4f} and {ours[1]:.4f}, SAEBench {value:.4f}, tolerance {spread:.4f}",
                          min(abs(value - x) for x in ours) <= spread)
    if failures:
        raise SystemExit(f"{failures} of absorption's results differ from SAEBench's")


def record_spread(record, name):
    mean, letters = record["eval_result_metrics"]["mean"], len(record["eval_result_details"])
    # Where no letter has any, one word in fifty is nothing.
    return max(0.02, 3 * mean["std_dev" + name.removeprefix("mean")] * (2 / letters) ** 0.5)


with tempfile.TemporaryDirectory() as folder:
    run(folder)
