#!/usr/bin/env python3
"""Writes SAE folders with the libraries that have these formats, and beside each what the library makes of sixteen inputs
(`io.safetensors`): of SAELens gated, topk with decoder norms, and a Matryoshka in the middle of its training; of
dictionary_learning gated and standard; of sparsify topk; of openai/sparse_autoencoder ReLU and TopK; Gemma Scope 2, as SAELens reads it.

    make_saes.py SPARSE_AUTOENCODER/model.py

With sae-lens 6.54.12, dictionary-learning 0.1.0 and eai-sparsify 1.3.3. Weights and inputs are those of saelens/standard, with decoder
rows of other norms where a library folds them.
"""
import importlib.util, json, math, os, sys, tempfile
from pathlib import Path

# No accelerator is needed; sparsify takes its plain decoder then.
os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
import torch
from safetensors.torch import load_file, save_file
import dictionary_learning.dictionary as dictionaries
import sae_lens.loading.pretrained_sae_loaders as loaders
from dictionary_learning.utils import load_dictionary
from sae_lens.saes.gated_sae import GatedSAE, GatedSAEConfig
from sae_lens.saes.matryoshka_batchtopk_sae import (
    MatryoshkaBatchTopKTrainingSAE, MatryoshkaBatchTopKTrainingSAEConfig)
from sae_lens.saes.sae import SAE, SAEMetadata
from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig
from sae_lens.training.activation_scaler import ActivationScaler
from sparsify import SparseCoder, SparseCoderConfig

os.chdir(Path(__file__).parent)
base = load_file("saelens/standard/sae_weights.safetensors")
x = load_file("saelens/standard/io.safetensors")["x"]
F, D, K = 128, 32, 8
generator = torch.Generator().manual_seed(14)
random = lambda *shape: torch.randn(*shape, generator=generator)
norms = torch.exp(0.4 * random(F))
metadata = lambda: SAEMetadata(model_name="SmolLM2-135M", hook_name="blocks.15.hook_resid_post", context_size=128)


def fill(sae, **parts):
    for name, value in {**base, **parts}.items():
        if isinstance(getattr(sae, name, None), torch.nn.Parameter):
            getattr(sae, name).data = value.clone()
    return sae.eval()


def record(folder, encode, decode):
    """What the library makes of the inputs; no activation may hang on the last bits of a threshold or a rank."""
    os.makedirs(folder, exist_ok=True)
    with torch.no_grad():
        codes = encode(x)
        codes = codes.to_dense() if codes.is_sparse else codes
        assert (codes > 0).sum() > 50 and codes[codes > 0].min() > 1e-4, folder
        nudged = encode(x + 1e-6 * random(*x.shape))
        nudged = nudged.to_dense() if nudged.is_sparse else nudged
        assert ((nudged > 0) == (codes > 0)).all(), folder
        save_file({"x": x, "encode": codes.contiguous(), "decode": decode(codes).contiguous()}, f"{folder}/io.safetensors")


# SAELens
r = 0.3 * random(F)
sae = fill(GatedSAE(GatedSAEConfig(d_in=D, d_sae=F, metadata=metadata())),
           b_gate=base["b_enc"] - 0.6 + 0.2 * random(F), b_mag=base["b_enc"], r_mag=r)
sae.save_model("saelens/gated")
sae = SAE.load_from_disk("saelens/gated")
record("saelens/gated", sae.encode, sae.decode)

sae = fill(TopKSAE(TopKSAEConfig(d_in=D, d_sae=F, k=K, rescale_acts_by_decoder_norm=True, metadata=metadata())),
           W_dec=base["W_dec"] * norms[:, None])
sae.save_model("saelens/topk_rescaled")
sae = SAE.load_from_disk("saelens/topk_rescaled")
record("saelens/topk_rescaled", sae.encode, sae.decode)

training = fill(MatryoshkaBatchTopKTrainingSAE(MatryoshkaBatchTopKTrainingSAEConfig(
    d_in=D, d_sae=F, k=K, matryoshka_widths=[8, 32, 64, 128], rescale_acts_by_decoder_norm=True,
    normalize_activations="expected_average_only_in", metadata=metadata())), W_dec=base["W_dec"] * norms[:, None])
training.topk_threshold = torch.tensor(1.37, dtype=torch.double)
training.save_model("saelens/matryoshka_training")
scaler = ActivationScaler(scaling_factor=1.625)
scaler.save("saelens/matryoshka_training/activation_scaler.json")
training.fold_activation_norm_scaling_factor(scaler.scaling_factor)
with tempfile.TemporaryDirectory() as folder:
    training.save_inference_model(folder)
    sae = SAE.load_from_disk(folder)
record("saelens/matryoshka_training", sae.encode, sae.decode)

# dictionary_learning
common = {"activation_dim": D, "dict_size": F, "lr": 5e-5, "steps": 1000, "warmup_steps": 100, "seed": 0, "device": "cpu",
          "layer": 15, "lm_name": "HuggingFaceTB/SmolLM2-135M-Instruct", "submodule_name": None}


def dictionary(name, module, trainer, dict_class, **keys):
    folder = f"dictionary_learning/{name}"
    os.makedirs(folder, exist_ok=True)
    torch.save(module.state_dict(), f"{folder}/ae.pt")
    trainer = {"trainer_class": trainer, "dict_class": dict_class, **common, **keys}
    Path(f"{folder}/config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"io": "out", "ctx_len": 1024}}, indent=4))
    module, _ = load_dictionary(folder, "cpu")
    record(folder, module.encode, module.decode)


gated = dictionaries.GatedAutoEncoder(D, F)
gated.load_state_dict({"decoder_bias": base["b_dec"], "encoder.weight": base["W_enc"].T, "decoder.weight": base["W_dec"].T,
                       "r_mag": r, "gate_bias": base["b_enc"] - 0.7 + 0.2 * random(F), "mag_bias": base["b_enc"] - 0.1})
dictionary("gated", gated, "GatedSAETrainer", "GatedAutoEncoder", l1_penalty=0.1, sparsity_warmup_steps=2000,
           decay_start=None, wandb_name="GatedSAETrainer")
standard = dictionaries.AutoEncoder(D, F)
standard.load_state_dict({"bias": base["b_dec"], "encoder.weight": base["W_enc"].T, "encoder.bias": base["b_enc"] - 0.5,
                          "decoder.weight": base["W_dec"].T})
dictionary("standard", standard, "StandardTrainer", "AutoEncoder", l1_penalty=0.1, wandb_name="StandardTrainer",
           resample_steps=None, sparsity_warmup_steps=None, decay_start=None)

# sparsify
coder = SparseCoder(D, SparseCoderConfig(expansion_factor=4, k=K, multi_topk=True))
coder.encoder.weight.data, coder.encoder.bias.data = base["W_enc"].T.contiguous(), base["b_enc"]
coder.W_dec.data, coder.b_dec.data = base["W_dec"], base["b_dec"]
coder.save_to_disk("sparsify/layers.15")
coder = SparseCoder.load_from_disk("sparsify/layers.15")


def dense(inputs):
    out = coder.encode(inputs)
    return torch.zeros(len(inputs), F).scatter(1, out.top_indices, out.top_acts)


def sparsify_decode(codes):
    top = codes.topk(K, dim=1)
    return coder.decode(top.values, top.indices)


record("sparsify/layers.15", dense, sparsify_decode)

# openai/sparse_autoencoder
spec = importlib.util.spec_from_file_location("openai_model", sys.argv[1])
openai = importlib.util.module_from_spec(spec)
spec.loader.exec_module(openai)
for name, activation in [("relu", torch.nn.ReLU()), ("topk", openai.TopK(K))]:
    f, d = (F, D) if name == "relu" else (16, 8)
    module = openai.Autoencoder(f, d, activation, normalize=name == "topk")
    if name == "relu":
        module.pre_bias.data, module.latent_bias.data = base["b_dec"], base["b_enc"] - 0.5
        module.encoder.weight.data, module.decoder.weight.data = base["W_enc"].T.contiguous(), base["W_dec"].T.contiguous()
    os.makedirs("openai/resid_post_mlp/autoencoders", exist_ok=True)
    path = f"openai/resid_post_mlp/autoencoders/{ {'relu': 15, 'topk': 16}[name] }.pt"
    torch.save(module.state_dict(), path)
    if name == "relu":
        module = openai.Autoencoder.from_state_dict(torch.load(path))
        record("openai", lambda inputs: module.encode(inputs)[0], lambda codes: module.decode(codes))

# Gemma Scope 2: the SAE of saelens/jumprelu_no_sub under the keys of the published files, read by SAELens as if it came from the hub.
folder = "gemma_scope_2/resid_post/layer_15_width_128_l0_small"
os.makedirs(folder, exist_ok=True)
weights = load_file("saelens/jumprelu_no_sub/sae_weights.safetensors")
save_file({name.lower(): value for name, value in weights.items()}, f"{folder}/params.safetensors")
Path(f"{folder}/config.json").write_text(json.dumps({
    "hf_hook_point_in": "model.layers.15.output", "hf_hook_point_out": "model.layers.15.output", "width": F,
    "model_name": "gemma-v3-270m-pt", "architecture": "jump_relu", "l0": 10, "affine_connection": False, "type": "sae"}))
loaders.hf_hub_download = lambda *where, filename=None, subfolder="", **_: os.path.join(subfolder, filename or where[1])
loaders.get_safetensors_tensor_shapes = lambda repo, file: {k: list(v.shape) for k, v in load_file(file).items()}
cfg, state, _ = loaders.gemma_3_sae_huggingface_loader("", folder, "cpu", cfg_overrides={"dtype": "float32"})
sae = SAE.from_dict(loaders.handle_config_defaulting(cfg))
sae.load_state_dict(state, assign=True)
record(folder, sae.encode, sae.decode)

for path in Path(".").rglob("*.safetensors"):
    path.chmod(0o644)
