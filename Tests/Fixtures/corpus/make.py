#!/usr/bin/env python3
"""Makes the files of this folder with gzip 1.12, zstd 1.5.4, numpy 2 and safetensors: make.py. What they hold is a formula that the tests have too."""
import json, subprocess
import numpy as np
from safetensors.numpy import save_file


def pack(tool, text):
    return subprocess.run(tool, input=text.encode(), stdout=subprocess.PIPE, check=True).stdout


GZIP, ZSTD = ["gzip", "-cn"], ["zstd", "-cq"]
lines = [json.dumps({"id": i, "text": f"document {i} is here", "body": f"another text {i}"}) + "\n" for i in range(4)]
first, second = "".join(lines[:2]), "".join(lines[2:])
# A line that ends in the next member or frame; and a frame that is to be skipped.
cut = len(first) - 9
whole = first + second
open("members.jsonl.gz", "wb").write(pack(GZIP, whole[:cut]) + pack(GZIP, whole[cut:]))
skippable = (0x184D2A50).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
open("frames.jsonl.zst", "wb").write(pack(ZSTD, whole[:cut]) + skippable + pack(ZSTD, whole[cut:]))
# Three megabytes, more than is read or given at a time.
long = "".join(f"line {i % 1000} of a long text\n" for i in range(120_000))
open("long.txt.gz", "wb").write(pack(["gzip", "-9cn"], long))
open("long.txt.zst", "wb").write(pack(ZSTD + ["-19"], long))
open("window.txt.zst", "wb").write(pack(ZSTD + ["--ultra", "--long=31"], "a window of two gibibytes\n"))

ids = (np.arange(1000) * 7 + 3) % 300
ids[96::97] = 0
rows = ids[:160].reshape(5, 32)
np.save("ids.npy", ids.astype("<u2"))
np.save("ids_i64.npy", ids.astype("<i8"))
ids.astype("<u2").tofile("ids.bin")
ids.astype("<u4").tofile("ids32.bin")
np.save("rows.npy", rows.astype("<i4"))
np.save("rows_u32.npy", rows.astype("<u4"))
np.save("fortran.npy", np.asfortranarray(rows.astype("<i4")))
np.save("big_endian.npy", rows.astype(">i4"))
np.save("floats.npy", rows.astype("<f4"))
np.save("objects.npy", np.array(["a", None], dtype=object), allow_pickle=True)
save_file({"tokens": rows.astype("<i4")}, "rows.safetensors")
save_file({"input_ids": ids.astype("<i8")}, "stream.safetensors")
counts = np.array([32, 20, 1, 32, 7])
mask = (np.arange(32)[None] < counts[:, None]).astype("<i8")
save_file({"input_ids": rows.astype("<i8"), "attention_mask": mask}, "padded.safetensors")
save_file({"input_ids": rows.astype("<i8"), "attention_mask": mask[:, ::-1].copy()}, "left_padded.safetensors")

# Activations: [n, 8] numbers that binary16 has.
x = ((np.arange(1600) * 37 % 257) - 128).reshape(200, 8) / 32
np.save("x0.npy", x[:70].astype("<f4"))
np.save("x1.npy", x[70:130].astype("<f2"))
np.save("x2.npy", x[130:].astype("<f8"))
