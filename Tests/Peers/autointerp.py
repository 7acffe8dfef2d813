"""Holds `dmsae autointerp` against Delphi's own functions: which windows there are, what is marked, what is read of answers, and measures.

    autointerp.py PROGRAM FOLDER

FOLDER has the packages of exports.txt. The server is one of this script, whose answers are drawn; some are no lists.
"""
import os

os.environ |= {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TQDM_DISABLE": "1"}
import hashlib, json, math, random, re, subprocess, sys, tempfile, threading, warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

PROGRAM, FOLDER = os.path.abspath(sys.argv[1]), Path(sys.argv[2])
sys.path.append(str(FOLDER))
warnings.filterwarnings("ignore")
# Its clients and simulators import them, and neither is used here.
for name in ("vllm", "vllm.distributed", "vllm.distributed.parallel_state", "vllm.inputs", "tiktoken"):
    sys.modules[name] = mock.MagicMock(__spec__=None)
import numpy as np, pandas as pd, torch
from delphi.config import ConstructorConfig, SamplerConfig
from delphi.explainers import DefaultExplainer
from delphi.latents import ActivatingExample, NonActivatingExample
from delphi.latents.loader import LatentDataset
from delphi.latents.samplers import normalize_activations
from delphi.log.result_analysis import compute_classification_metrics, compute_confusion, frequency_weighted_f1, get_agg_metrics
from delphi.scorers import DetectionScorer, FuzzingScorer
from delphi.scorers.classifier.sample import examples_to_samples
from transformers import PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parents[2]
LAYER, CONTEXT, WINDOW, EXPLAIN, TEST, QUANTILES, SHOWN = 1, 32, 16, 6, 9, 3, 5
failures = 0


def dmsae(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"dmsae {' '.join(map(str, arguments))}\n{done.stderr}")
    return done.stdout


def check(what, wrong, of):
    """Says how many of so many things are otherwise than Delphi has them; none at all is wrong too."""
    global failures
    failures += bool(wrong) or not of
    print(f"{what:75} {'WRONG ' if wrong or not of else ''}{wrong or 'none'} of {of} otherwise")


class Judge(BaseHTTPRequestHandler):
    """Answers drawn from what was asked; of those that are no lists, every kind."""
    protocol_version = "HTTP/1.1"
    asked = []

    def log_message(self, *_): pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        messages = json.loads(body)["messages"]
        draw = random.Random(hashlib.sha256(body).digest())
        count = len(re.findall("^Excerpt ", messages[-1]["content"], re.M))
        bits = [draw.randint(0, 1) for _ in range(count)]
        listed = ", ".join(map(str, bits))
        text = draw.choice([
            f"[{listed}]", f"[{listed.replace(' ', '')}]", f"Here it is: [{listed}] as asked", json.dumps([bool(b) for b in bits]),
            f"[{listed}, 1]", "[]", "I cannot say.", f"[{listed}", f"```\n[{listed}]\n```", f"[1] no, [{listed}]",
        ]) if "Description: " in messages[-1]["content"] else f"Explanation: thing {draw.randint(0, 9)}"
        Judge.asked.append((messages, text))
        reply = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)


def prepare(work, endpoint):
    """A tiny model, an SAE, its activations for Delphi, and explanations of some of its latents."""
    subprocess.run([ROOT / ".ci" / "tiny", work], check=True)
    model, text, sae = work / "model", work / "text.txt", work / "sae"
    dmsae("harvest", "--model", model, "--layer", LAYER, "--text", text, "--tokens", 4096, "--context", CONTEXT, "--out", work / "store")
    dmsae("train", "--activations", work / "store", "--batch", 256, "--k", 8, "--groups", "32,32,64", "--steps", 60, "--lr", 3e-3,
          "--threshold-start", 10, "--out", sae)
    common = ["--model", model, "--text", text, "--tokens", 8192, "--context", CONTEXT, "--keep-first", 0, "--keep-special", "no", "--sinks", "off"]
    dmsae("latents", "--sae", sae, *common, "--all", "--export", "delphi", "--out", work / "delphi")
    dmsae("autointerp", sae, *common, "--endpoint", endpoint, "--explainer", "e", "--out", work / "out", "--window", WINDOW, "--explain-contexts",
          EXPLAIN, "--test-contexts", TEST, "--quantiles", QUANTILES, "--shown", SHOWN, "--count", 12)
    summary = json.loads((work / "out" / "sae" / "autointerp.json").read_text())
    records = [json.loads(path.read_text()) for path in sorted((work / "out" / "sae" / "latents").glob("*.json"))]
    return model, summary, records


def line(text):
    return re.sub(r"[\n\r\v\f\x85\u2028\u2029]", "⏎", text.replace("\r\n", "⏎"))


def example(context, kind=ActivatingExample, **more):
    return kind(tokens=torch.zeros(WINDOW), activations=torch.tensor(context["activations"]), str_tokens=context["tokens"], **more)


def windows(work, model, records):
    """Delphi's examples of each latent, from our export, against the contexts that were drawn of them."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(model / "tokenizer.json"))
    wanted = torch.tensor([r["latent"] for r in records])
    dataset = LatentDataset(
        work / "delphi" / "latents", SamplerConfig(n_examples_train=EXPLAIN, n_examples_test=TEST, n_quantiles=QUANTILES),
        ConstructorConfig(example_ctx_len=WINDOW, min_examples=EXPLAIN + TEST, n_non_activating=TEST), tokenizer=tokenizer,
        latents={f"layers.{LAYER}": wanted})
    tokens, theirs = dataset.tokens, {}
    for buffer in dataset.buffers:
        for latent in buffer:
            data = latent.activation_data
            dense = torch.zeros(tokens.shape)
            dense[data.locations[:, 0], data.locations[:, 1]] = data.activations.float()
            theirs[latent.latent.latent_index] = dense
    found = {record.latent.latent_index: record for record in dataset}
    check("latents that Delphi has examples of", len({r["latent"] for r in records} ^ found.keys()), len(records))
    counts = [(r["firings"], int((theirs[r["latent"]] > 0).sum())) for r in records]
    check("how often they fire", sum(a != b for a, b in counts), len(counts))
    off = parts = values = contexts = 0
    for r in records:
        record, dense = found[r["latent"]], theirs[r["latent"]]
        # Half precision: 11 bits.
        peaks = np.array([e.max_activation for e in record.examples])
        size = len(peaks) // QUANTILES
        tested = [q["context"] for q in r["scores"]["detection"]["questions"]]
        for context in r["contexts"] + tested:
            contexts += 1
            place = slice(context["position"], context["position"] + WINDOW)
            own = dense[context["sequence"], place]
            # Token by token, as Delphi means it; of one sequence, newer versions of transformers decode the whole.
            off += context["tokens"] != [tokenizer.decode([t]) for t in tokens[context["sequence"], place]]
            values += not np.allclose(own, context["activations"], rtol=1e-3)
            if "quantile" in context:
                part = peaks[context["quantile"] * size : (context["quantile"] + 1) * size]
                peak = max(context["activations"])
                parts += not part[-1] * (1 - 1e-3) <= peak <= part[0] * (1 + 1e-3)
            else:
                parts += bool((own > 0).any())
    check("texts of contexts", off, contexts)
    check("activations in contexts", values, contexts)
    check("the part of Delphi's examples that a context is from, or silence", parts, contexts)


def hashed():
    """What was asked and answered, by the hash that records have of prompts."""
    text = lambda m: f"{m['role']} {len(m['content'].encode())} {m['content']}\n"
    return {hashlib.sha256("".join(map(text, messages)).encode()).hexdigest(): (messages, said) for messages, said in Judge.asked}


def marks(records, asked_of):
    """What stands between << and >>, and how strongly, with Delphi's explainer and its fuzzing scorer."""
    explainer = DefaultExplainer(client=None)
    marked = strengths = right = wrong = count = asked = 0
    for r in records:
        shown = asked_of[r["explaining"]["prompt_sha256"]][0][-1]["content"].split("\n")
        examples = normalize_activations([example(c) for c in r["contexts"]], r["largest"])
        for i, (context, e) in enumerate(zip(r["contexts"], examples)):
            marked += shown[2 * i] != f"Excerpt {i + 1}: " + line(explainer._highlight(context["tokens"], e.activations.tolist()))
            joined = explainer._join_activations(context["tokens"], e.activations.tolist(), e.normalized_activations.tolist())
            listed = [int(n) for n in re.findall(r'" : (\d+)\), ', joined)][:10]
            strengths += [int(n) for n in re.findall(r'" (\d+)(?:, |$)', shown[2 * i + 1])] != listed
        questions = r["scores"]["fuzzing"]["questions"]
        own = [example(q["context"]) for q in questions if q["truth"]]
        n = FuzzingScorer(client=None).mean_n_activations_ceil(own)
        for q in questions:
            asked += 1
            text = "".join(("<<" if i in q["marked"] and i - 1 not in q["marked"] else "") + t + (">>" if i in q["marked"] and i + 1 not in q["marked"] else "")
                           for i, t in enumerate(q["context"]["tokens"]))
            if q["truth"]:
                right += text != examples_to_samples([example(q["context"])], n_incorrect=0, highlighted=True)[0].text
                continue
            theirs = examples_to_samples([example(q["context"], NonActivatingExample)], n_incorrect=n, highlighted=True)[0].text
            # Drawn otherwise: as many tokens, and none that Delphi could not draw.
            activations = torch.tensor(q["context"]["activations"])
            wrong += len(q["marked"]) != min(n, int((activations <= 0.3 * activations.max()).sum())) or not (activations[q["marked"]] <= 0.3 * activations.max()).all()
            count += "<<" not in theirs
    check("tokens marked for the explanation", marked, len(records) * EXPLAIN)
    check("their strengths", strengths, len(records) * EXPLAIN)
    check("texts of fuzzing that are marked rightly", right, asked)
    check("how many are marked wrongly", wrong + count, asked)


def answers(records, asked_of):
    """What is read of answers. Delphi reads the first brackets only; a list behind others is read here too."""
    off = later = asked = 0
    for r in records:
        for method, scorer in (("detection", DetectionScorer), ("fuzzing", FuzzingScorer)):
            tested = r["scores"][method]
            first = 0
            for exchange in tested["exchanges"]:
                size = min(SHOWN, len(tested["questions"]) - first)
                ours = tested["answers"][first : first + size]
                first += size
                asked += 1
                text = exchange["answer"]["text"]
                off += asked_of[exchange["prompt_sha256"]][1] != text
                try:
                    theirs = scorer(client=None, n_examples_shown=size)._parse(text)[0]
                except Exception:
                    theirs = [None] * size
                if theirs != ours:
                    isLater = theirs == [None] * size and len(re.findall(r"\[.*?\]", text)) > 1
                    later += isLater
                    off += not isLater
    check("what is read of answers", off, asked)
    print(f"{'':75} {later} lists stand behind other brackets")


def measures(records, summary):
    rows = [
        dict(score_type=method, module="m", latent_idx=r["latent"], activating=q["truth"], prediction=a, probability=None, firing_count=r["firings"])
        for r in records for method, tested in r["scores"].items() for q, a in zip(tested["questions"], tested["answers"])
    ]
    df = pd.DataFrame(rows)
    counts = torch.zeros(128, dtype=torch.long)
    for r in records:
        counts[r["latent"]] = r["firings"]
    names = {"balanced_accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "f1_score"}
    # Quotients of the same whole numbers, in another order.
    same = lambda a, b, tolerance=1e-12: a is not None and math.isfinite(a) and abs(a - b) <= tolerance
    wrong = of = empty = 0
    for r in records:
        for method, tested in r["scores"].items():
            own = df[(df.score_type == method) & (df.latent_idx == r["latent"])]
            confusion = compute_confusion(own)
            theirs = compute_classification_metrics(confusion)
            wrong += any(confusion[k] != tested["counts"][k] for k in ("true_positives", "false_positives", "true_negatives", "false_negatives"))
            for ours, name in names.items():
                if not confusion["total_positives"] or not confusion["total_negatives"]:
                    empty += 1
                    continue
                of += 1
                wrong += not same(tested["measures"][ours], theirs[name])
    check("measures of each latent", wrong, of)
    print(f"{'':75} {empty} have a class without answers")
    wrong = of = 0
    for s in summary["sets"]:
        part = df[df.latent_idx.isin(s["latents"])]
        table = get_agg_metrics(part, {"m": counts}).set_index("score_type")
        for method in ("detection", "fuzzing"):
            pooled = next(p for p in summary["pooled"] if p["set"] == s["name"] and p["method"] == method)
            for ours, name in names.items():
                of += 1
                wrong += not same(pooled["measures"][ours], table.loc[method, name])
            mean = next(m for m in summary["means"] if (m["set"], m["method"], m["measure"]) == (s["name"], method, "f1"))
            if mean["latents"] == len(s["latents"]):
                of += 1
                # Delphi adds up in single precision.
                wrong += not same(mean["frequency_weighted_mean"]["value"], frequency_weighted_f1(part[part.score_type == method], {"m": counts}), 1e-6)
    check("measures of sets, pooled, and F1 weighted by how often latents fire", wrong, of)


server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
threading.Thread(target=server.serve_forever, daemon=True).start()
with tempfile.TemporaryDirectory() as folder:
    work = Path(folder)
    model, summary, records = prepare(work, f"http://127.0.0.1:{server.server_address[1]}/v1")
    windows(work, model, records)
    marks(records, hashed())
    answers(records, hashed())
    measures(records, summary)
print(f"{failures} differences" if failures else "explanations are tested as Delphi tests them")
sys.exit(failures > 0)
