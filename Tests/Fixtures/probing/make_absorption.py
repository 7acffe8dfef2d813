"""Writes absorption.safetensors: what sae-bench 0.6's own functions make of small drawn numbers.

    make_absorption.py FOLDER

FOLDER has sae-bench 0.6.0 (`pip install --no-deps --target FOLDER sae-bench==0.6.0`); torch, scikit-learn, sae-lens and transformer-lens
are installed. `train_multi_probe` draws its start and the order of its rows: both are put in from outside, so that they can be told.
"""
import math, sys
from pathlib import Path
from types import SimpleNamespace

import numpy, torch

sys.path.append(sys.argv[1])
from safetensors.torch import save_file
from sae_bench.evals.absorption import k_sparse_probing, probing
from sae_bench.evals.absorption.feature_absorption_calculator import FeatureAbsorptionCalculator
from sae_bench.evals.absorption.prompting import create_icl_prompt, first_letter_formatter
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

random = torch.Generator().manual_seed(7)
ROWS, WIDTH, CLASSES, EPOCHS, LATENTS = 48, 5, 11, 6, 14
tensors = {}


def normal(*shape):
    return torch.randn(*shape, generator=random)


# Classes of unlike sizes, more than eight, each with a row, and rows that show them.
classes = torch.cat([torch.arange(CLASSES), torch.randint(0, 4, (ROWS - CLASSES,), generator=random)])
x = 3 * normal(ROWS, WIDTH) + 2 * normal(CLASSES, WIDTH)[classes]
start = torch.nn.Linear(WIDTH, CLASSES)
with torch.no_grad():
    start.weight.copy_((2 * torch.rand(CLASSES, WIDTH, generator=random) - 1) / math.sqrt(WIDTH))
    start.bias.copy_((2 * torch.rand(CLASSES, generator=random) - 1) / math.sqrt(WIDTH))
orders = torch.stack([torch.randperm(ROWS, generator=random) for _ in range(EPOCHS)])
tensors |= {"x": x, "classes": classes, "start.weights": start.weight.detach().clone(), "start.biases": start.bias.detach().clone(),
            "orders": orders}


class Probe(probing.LinearProbe):
    def __init__(self, *sizes, **more):
        super().__init__(*sizes, **more)
        self.fc.load_state_dict(start.state_dict())


class Batches:
    """Batches of the next of `orders` each time one goes through them."""

    def __init__(self, dataset, batch_size, shuffle):
        assert shuffle
        self.dataset, self.size, self.epochs = dataset, batch_size, iter(orders)

    def __len__(self):
        return -(-ROWS // self.size)

    def __iter__(self):
        for rows in next(self.epochs).split(self.size):
            yield self.dataset[rows]


probing.LinearProbe, probing.DataLoader = Probe, Batches
labels = torch.nn.functional.one_hot(classes)
common = dict(num_epochs=EPOCHS, lr=0.01, show_progress=False, device=torch.device("cpu"))
dense = probing.train_multi_probe(x, labels, batch_size=10, weight_decay=1e-4, **common)
sparse = k_sparse_probing.train_sparse_multi_probe(x.relu(), labels, batch_size=20, l1_decay=0.5, l2_decay=1e-6, **common)
for name, probe in [("dense", dense), ("sparse", sparse)]:
    tensors |= {f"{name}.weights": probe.weights.detach(), f"{name}.biases": probe.biases.detach()}

# A regression on three latents that fire seldom, both classes weighing the same.
codes = normal(ROWS, 3).sub(0.8).relu()
one = (classes == 1).long()
fit = LogisticRegression(class_weight="balanced", solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(codes.double().numpy(), one.numpy())
tensors |= {"latents": codes, "regression": torch.tensor([*fit.coef_[0], *fit.intercept_]),
            "regression.f1": torch.tensor(f1_score(one, fit.decision_function(codes.double().numpy()) > 0), dtype=torch.float64)}


class Model:
    """Answers the prompt of a word that is a number with that row of activations."""

    tokenizer = None

    def to_tokens(self, text):
        return torch.zeros(1, 4)

    def run_with_cache(self, prompts, names_filter):
        rows = [int(prompt.rsplit("\n", 1)[1].split()[0][1:]) for prompt in prompts]
        return None, {names_filter[0]: activations[rows][:, None, :]}


# Words of many kinds: with and without main latents that fire, with latents that point along the probe, across it and against it.
WORDS, MAIN = 240, [2, 9]
direction = normal(WIDTH)
unit = direction / direction.norm()
decoder = normal(LATENTS, WIDTH) + unit * torch.linspace(-2, 6, LATENTS)[:, None]
decoder[2], decoder[9] = decoder[2] + 3 * unit, decoder[9] + unit
# One that is nearly across: full absorption takes it, the fraction does not.
across = normal(WIDTH)
across -= (across @ unit) * unit
decoder[5] = across / across.norm() + 0.06 * unit
decoder = decoder / decoder.norm(dim=1, keepdim=True)
codes = (2 * normal(WORDS, LATENTS) - 1).relu()
codes[::2, MAIN] = 0
codes[::3] *= torch.rand(WORDS // 3, LATENTS, generator=random) < 0.3
alone = torch.arange(1, WORDS, 15)
codes[alone] = 0
codes[alone, 5] = 10
scale = torch.rand(WORDS, 1, generator=random) * 3
activations = codes @ decoder * scale.clamp(0.3) + 0.3 * normal(WORDS, WIDTH)
activations[alone] = codes[alone] @ decoder + 0.1 * normal(len(alone), WIDTH)
activations[::7] *= -1
sae = SimpleNamespace(W_dec=decoder, device="cpu", encode=lambda a: torch.stack(
    [codes[(activations == row).all(1).nonzero()[0, 0]] for row in a]))
words = [f"w{i}" for i in range(WORDS)]
calculator = FeatureAbsorptionCalculator(
    model=Model(), icl_word_list=["sun", "moon"], max_icl_examples=1, base_template="{word} has the first letter:",
    answer_formatter=lambda word: " W", word_token_pos=0, topk_feats=4)
found = calculator.calculate_absorption(sae, words, direction, MAIN, layer=1, show_progress=False).word_results
tensors |= {
    "absorption.direction": direction, "absorption.decoder": decoder, "absorption.codes": codes, "absorption.activations": activations,
    "absorption.main": torch.tensor(MAIN), "absorption.fraction": torch.tensor([float(w.absorption_fraction) for w in found]).double(),
    "absorption.full": torch.tensor([int(w.is_full_absorption) for w in found])}
fractions, full = tensors["absorption.fraction"], tensors["absorption.full"]
kinds = [(fractions == 0).sum(), (fractions == 1).sum(), ((fractions > 0) & (fractions < 1)).sum(), full.sum(), ((full == 1) & (fractions == 0)).sum()]
print("words with nothing, all, and a part absorbed, in full, and in full alone:", *map(int, kinds))
assert min(kinds) > 2
print(repr(create_icl_prompt(" snake", ["Tortoise"], "{word} has the first letter:", max_icl_examples=1, answer_formatter=first_letter_formatter(),
                             prepend_separator_to_first_example=True).base))
save_file({name: value.contiguous() for name, value in tensors.items()}, Path(__file__).parent / "absorption.safetensors")
