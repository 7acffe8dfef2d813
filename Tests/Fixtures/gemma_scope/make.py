#!/usr/bin/env python3
"""Writes the SAE of ../dictionary_learning/jumprelu as Gemma Scope keeps them, with NumPy: stored; deflated, with one array in Fortran
order and one in double precision; with an array of objects; with an array too many."""
import json, os, struct
import numpy as np

with open("../dictionary_learning/jumprelu/weights.safetensors", "rb") as file:
    size = struct.unpack("<Q", file.read(8))[0]
    header = json.loads(file.read(size))
    data = file.read()
arrays = {name: np.frombuffer(data[slice(*entry["data_offsets"])], np.float32).reshape(entry["shape"])
          for name, entry in header.items() if name != "__metadata__"}
other = dict(arrays, W_enc=np.asfortranarray(arrays["W_enc"]), b_enc=arrays["b_enc"].astype(np.float64))
for name, save, content in [("stored", np.savez, arrays), ("deflated", np.savez_compressed, other),
                            ("objects", np.savez_compressed, {"W_dec": np.array([[None]], dtype=object)}),
                            ("more", np.savez_compressed, {"scale": np.zeros(1, np.float32)})]:
    os.makedirs("layer_15/" + name, exist_ok=True)
    save("layer_15/" + name + "/params.npz", **content)
