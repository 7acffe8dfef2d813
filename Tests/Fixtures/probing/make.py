"""Writes tasks.whl: a package as sae-probes' is, with tasks of words drawn here, and broken ones.

    python3 make.py        (needs zstandard)
"""
import csv, io, os, random, zipfile
import zstandard

WORDS = ["the", "cat", "on", "a", "mat", "he", "ran", "code", "sea", "of", "tin", "and", "rain"]
draw = random.Random(7)


def packed(columns, rows):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return zstandard.ZstdCompressor().compress(text.getvalue().encode())


def prompts(count, classes, signs):
    """Half of each class; a prompt ends with a word of its class in four of five cases."""
    rows = []
    for i in range(count):
        label = i % 2
        sign = label if draw.random() < 0.8 else 1 - label
        words = [draw.choice(WORDS) for _ in range(draw.randint(1, 12))] + [draw.choice(signs[sign])]
        rows.append((" ".join(words), len(words), classes[label]))
    draw.shuffle(rows)
    return rows


colours = prompts(300, ("red", "blue"), (["rain", "sea"], ["mat", "tin"]))
colours[0] = ('he said "the, cat"\nand\tran', *colours[0][1:])
long = prompts(240, ("0", "1"), (["code"], ["ran"]))
long[0] = (" ".join(["the cat"] * 200 + ["code"]), *long[0][1:])
tasks = {
    "1_colour": (["prompt", "prompt_len", "target"], colours),
    "2_long words": (["prompt", "target"], [(p, t) for p, _, t in long]),
    "4_three": (["prompt", "target"], [(p, str(i % 3)) for i, (p, _, _) in enumerate(long)]),
    "5_few": (["prompt", "target"], [(p, t) for p, _, t in long[:150]]),
}
master = [("x", "colour", "cleaned_data/1_colour.csv", "Binary Classification"), ("", "length", "cleaned_data/3_length.csv", "Continuous Data"),
          ("", "long words", "cleaned_data/2_long words.csv", "Binary Classification"),
          ("", "three", "cleaned_data/4_three.csv", "Binary Classification"), ("", "few", "cleaned_data/5_few.csv", "Binary Classification")]
with zipfile.ZipFile(os.path.join(os.path.dirname(os.path.abspath(__file__)), "tasks.whl"), "w", zipfile.ZIP_DEFLATED) as wheel:
    def add(name, data):
        wheel.writestr(zipfile.ZipInfo("sae_probes/data/" + name, (2020, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)

    add("probing_datasets_MASTER.csv.zst", packed(["Source", "Dataset Tag", "Dataset save name", "Data type"], master))
    for name, (columns, rows) in tasks.items():
        add(f"cleaned_data/{name}.csv.zst", packed(columns, rows))
