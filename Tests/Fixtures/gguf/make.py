#!/usr/bin/env python3
"""Writes every_type.gguf, two rows of 512 elements of every type that is read, every_type.safetensors, what they are by the
package `gguf` (0.19, which is llama.cpp's own), and a model in several parts.  Random bits, so that every bit of a block counts; scales are ordinary numbers."""
import json, struct
import numpy as np
from gguf import GGUFWriter, GGMLQuantizationType as T
from gguf.quants import dequantize, quant_shape_to_byte_shape

# Where in a block half-precision numbers are.
HALVES = {T.F16: None, T.BF16: None, T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82],
          T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}
random = np.random.default_rng(1)
writer = GGUFWriter("every_type.gguf", "none")
expected = {}
for kind, halves in HALVES.items():
    shape = quant_shape_to_byte_shape((2, 512), kind)
    if halves is None:
        values = random.standard_normal((2, 512)).astype(np.float32)
        data = values.astype(np.float16).view(np.uint8) if kind == T.F16 else \
            np.ascontiguousarray((values.view(np.uint32) >> 16).astype(np.uint16)).view(np.uint8)
    else:
        data = random.integers(0, 256, shape, dtype=np.uint8)
        size = {T.Q4_0: 18, T.Q4_1: 20, T.Q5_0: 22, T.Q5_1: 24, T.Q8_0: 34, T.Q2_K: 84, T.Q3_K: 110, T.Q4_K: 144, T.Q5_K: 176,
                T.Q6_K: 210}[kind]
        blocks = data.reshape(-1, size)
        for at in halves:
            blocks[:, at:at + 2] = random.standard_normal(len(blocks)).astype(np.float16).view(np.uint8).reshape(-1, 2)
    data = data.reshape(shape)
    name = kind.name.lower()
    # As bytes: the writer works the shape out from the type.
    writer.add_tensor(name, data.view(np.float16) if kind == T.F16 else data, raw_dtype=None if kind == T.F16 else kind)
    expected[name] = data.view(np.float16).astype(np.float32) if kind == T.F16 else dequantize(data, kind).astype(np.float32)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

header, at = {}, 0
for name, values in expected.items():
    header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
    at += values.nbytes
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open("every_type.safetensors", "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text)
    for values in expected.values():
        file.write(np.ascontiguousarray(values).tobytes())

# Five tensors in parts of two, the first of which holds the metadata alone, as llama.cpp's gguf-split --no-tensor-first-split makes them.
writer = GGUFWriter("split.gguf", "llama", split_max_tensors=2, small_first_shard=True)
writer.add_block_count(7)
for i in range(5):
    writer.add_tensor(f"t{i}", np.arange(8, dtype=np.float32).reshape(2, 4) + 100 * i)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
