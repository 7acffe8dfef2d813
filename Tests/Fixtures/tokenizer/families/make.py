#!/usr/bin/env python3
"""Writes what lies beside it (pip install tokenizers==0.23.3 sentencepiece==0.2.3 protobuf django==5.2.19 numpy gguf; its argument is
the file that `dmsae fetch gemma3` brings):

lines.txt       2,000 lines in five scripts, 400 each (Latin, Cyrillic, Chinese with Japanese and Korean, Arabic, Devanagari): the
                translated messages of Django (BSD-3-Clause, https://www.djangoproject.com), drawn with a seed
awkward.json    texts made up to be awkward
byte_level.json, pieces.json    two small vocabularies with merges, trained on those lines (ties fall otherwise every time)
FAMILY.json     tokenizer.json as a family of models has it, around one of the two
sentencepiece.json   a vocabulary that sentencepiece trained on those lines: piece, score, type
ids.safetensors   of every family a hash (FNV-1a, 32 bits, over the ids as little-endian 32-bit numbers) of the ids that the package
                `tokenizers` gives each line and each awkward text; of sentencepiece.json what the package `sentencepiece` gives.
                FAMILY.words is of the lengths in bytes of the words that its pattern cuts; FAMILY.special is of awkward texts with special tokens recognised; gemma3_270m is what sentencepiece gives with the
                vocabulary of the real model."""
import glob, io, json, os, random, re, ast, struct, sys, unicodedata
import numpy as np
import django, sentencepiece
from sentencepiece import sentencepiece_model_pb2 as model_pb2
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

os.chdir(os.path.dirname(os.path.abspath(__file__)))


def messages(language):
    result = []
    for path in sorted(glob.glob(f"{django.__path__[0]}/**/locale/{language}/LC_MESSAGES/*.po", recursive=True)):
        current = None
        for line in open(path, encoding="utf-8").read().split("\n") + [""]:
            found = re.match(r'msgstr(\[\d\])? (".*")$', line)
            if found:
                current = ast.literal_eval(found.group(2))
            elif current is not None and line.startswith('"'):
                current += ast.literal_eval(line)
            elif current is not None:
                if current.strip() and "Project-Id" not in current:
                    result += [part for part in current.split("\n") if len(part.encode()) >= 24]
                current = None
    return result


def real_lines():
    random.seed(1)
    result = []
    for group in ["fr de pl vi tr", "ru uk bg sr", "zh_Hans zh_Hant ja ko", "ar fa ur", "hi ne mr"]:
        pool = list(dict.fromkeys(m for language in group.split() for m in messages(language)))
        result += [pool[i] for i in sorted(random.sample(range(len(pool)), 400))]
    return result


def awkward_texts(lines):
    texts = [t for t in json.load(open("../ids.json"))["texts"] if t]
    texts += [
        "it'Sa 'LL 'Re x'ſa 'Ve 'vE 'm'D", "e\u0301\u0301a \u1100\u1161\u11a8 각 \u212b \u0958 क\u093c A\u030a é\u0327",
        "  \n \n  x\t\ty \r\n\r\n! \u2028\u2028x 12345½ 1234567", "a▁b ▁ ▁▁ c▁", " leading", "▁leading", "hello", "Hello",
        "<s> a</s>  b<unk>", "<0x0A>\n", "<0x41>", "   ", " ", "a   b", "[INST] hi [/INST]", "x [INST]", "\n\n\n \n",
        "<bos>a<table>  \n\n\n<table>x</table>▁▁", "\U0001F468\u200d\U0001F469 ok 😀", "𝒳𝒴 ＡＢＣ", "it''s don''t",
        "x\u00a0\u3000y", "ǅ ㎏ ²³ Ⅻ 一二", "<|im_start|>user\n<think>ok</think>", "<|begin_of_text|>x",
        "<s>a</s>b[INST]c", "<|endoftext|>a<|endoftext|> b", ".hello,world\n\n;\n\tx", "     code\n        indented  \n", "\U0002f800 \U0001d15e",
    ]
    texts += [unicodedata.normalize("NFD", t) for t in lines[:20] + lines[700:720]]
    random.seed(3)
    ranges = [(0x300, 0x345), (0x1100, 0x1113), (0x1161, 0x1176), (0x11A7, 0x11C3), (0x915, 0x94E)]
    pool = [chr(c) for low, high in ranges for c in range(low, high)] + list(
        "aeoué \u093c\u09be\u09c7\u09d7\u0b47\u0b3e\u212b\u0344\uf900\U0002f800\U00011099\U000110ba가\u0dd9\u0dcf\u0dca ộ")
    texts += ["".join(random.choice(pool) for _ in range(random.randint(1, 40))) for _ in range(200)]
    # What patterns tell apart.
    pool = list("   \n\n\r\t'''sStTlLrReEvVmMdD1122½٣aé中!!.ſ\u00a0\u3000\u2028\u0301") + ["😀"]
    return texts + ["".join(random.choice(pool) for _ in range(random.randint(1, 30))) for _ in range(400)]


def train(lines, pre_tokenizer, size, limit, **options):
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer = pre_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet() if limit is None else []
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, limit_alphabet=limit or 1000, show_progress=False,
        special_tokens=[] if limit is None else ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]))
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], model["merges"]


def add_unmerged(vocabulary, words):
    """Tokens that no merge makes: found by "ignore_merges" alone."""
    for word in words:
        assert word not in vocabulary, word
        vocabulary[word] = len(vocabulary)


def sequence(key, *steps):
    return {"type": "Sequence", key: list(steps)}


def byte_level(prefix=False, regex=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def split(numbers):
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + numbers +
               r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def template(token, id):
    return {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [], "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}}}


def metaspace(**options):
    return {"type": "Metaspace", "replacement": "▁", **options}


REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
PREPEND = {"type": "Prepend", "prepend": "▁"}
PIECES = sequence("decoders", {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
                  {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0})


def families(bytes_count, pieces_count):
    """name: (vocabulary, merges joined by a space, normalizer, pre_tokenizer, post_processor, decoder, options, added tokens).
    An added token: text, special, normalized; ids follow the vocabulary unless the text is in it."""
    unk = {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}
    end = [("<|endoftext|>", True, False)]
    control = [("<unk>", True, False), ("<s>", True, False), ("</s>", True, False)]
    n, p = bytes_count, pieces_count
    return {
        "gpt2": ("byte_level", True, None, byte_level(), byte_level(), byte_level(), {}, end),
        "gpt2_prefix": ("byte_level", False, None, byte_level(prefix=True), None, byte_level(), {}, end),
        "llama3": ("byte_level", True, None, sequence("pretokenizers", split("{1,3}"), byte_level(regex=False)),
                   sequence("processors", byte_level(), template("<|begin_of_text|>", n)), byte_level(), {"ignore_merges": True},
                   [("<|begin_of_text|>", True, False), ("<|end_of_text|>", True, False)]),
        "qwen2": ("byte_level", False, {"type": "NFC"}, sequence("pretokenizers", split(""), byte_level(regex=False)), byte_level(),
                  byte_level(), {}, end + [("<|im_start|>", True, False), ("<think>", False, False), ("</think>", False, False)]),
        "neox": ("byte_level", True, {"type": "NFC"}, byte_level(), byte_level(), byte_level(), {},
                 end + [(" " * k, False, True) for k in range(24, 1, -1)]),
        "llama2": ("pieces", True, sequence("normalizers", PREPEND, REPLACE), None, template("<s>", 1), PIECES, unk,
                   control + [("[INST]", False, True)]),
        "mistral": ("pieces", False, None, metaspace(prepend_scheme="first", split=False), template("<s>", 1), PIECES,
                    {**unk, "ignore_merges": True}, control + [("[INST]", True, False)]),
        "metaspace": ("pieces", False, None, metaspace(add_prefix_space=True), None, metaspace(add_prefix_space=True), unk, control),
        "metaspace_never": ("pieces", False, None, metaspace(prepend_scheme="never"), None, None, unk, control),
        "gemma": ("pieces", False, REPLACE, {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
                  template("<bos>", p), PIECES, unk,
                  control + [("<bos>", True, False)] + [(t, False, False) for t in ["\n", "\n\n", "\n\n\n", "▁▁", "▁▁▁", "<table>", "</table>"]]),
    }


def document(vocabulary, base, joined, normalizer, pre_tokenizer, post_processor, decoder, options, tokens):
    count, added = len(vocabulary), []
    for text, special, normalized in tokens:
        id = vocabulary.get(text, count)
        count += id == count
        added.append({"id": id, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": normalized,
                      "special": special})
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, **options,
             "vocab": base, "merges": base + (", joined" if joined else "")}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer, "post_processor": post_processor, "decoder": decoder, "model": model}


def fnv(ids):
    result = 0x811C9DC5
    for byte in struct.pack(f"<{len(ids)}i", *ids):
        result = ((result ^ byte) * 0x01000193) & 0xFFFFFFFF
    return result


def write_json(name, value):
    with open(name, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, separators=(",", ":"))


def trained_by_sentencepiece(lines):
    """With what Llama's vocabularies have: runs of spaces of one score."""
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=file, model_type="bpe", vocab_size=3000, character_coverage=0.98, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True, allow_whitespace_only_pieces=True,
        num_threads=1, minloglevel=2)
    model = model_pb2.ModelProto.FromString(file.getvalue())
    known = {piece.piece for piece in model.pieces}
    for count in (2, 3, 4, 5, 8):
        if "▁" * count not in known:
            model.pieces.add(piece="▁" * count, score=-1e9, type=1)
    for piece in model.pieces:
        if set(piece.piece) == {"▁"}:
            piece.score = -1e9
    return model


def of_gguf(path):
    """The vocabulary of a GGUF file as a model of sentencepiece; user-defined pieces stand there with plain spaces."""
    from gguf import GGUFReader
    fields = GGUFReader(path).fields
    tokens, types, scores = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type", "scores"))
    model = model_pb2.ModelProto()
    for token, type, score in zip(tokens, types, scores):
        model.pieces.add(piece=token.replace(" ", "▁") if type == 4 else token, score=score, type=type)
    model.pieces[3].type = 2
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    trainer.model_type, trainer.byte_fallback, trainer.vocab_size = 2, True, len(tokens)
    trainer.pad_id, trainer.eos_id, trainer.bos_id, trainer.unk_id = 0, 1, 2, 3
    normalizer.name, normalizer.add_dummy_prefix, normalizer.remove_extra_whitespaces = "identity", False, False
    return model


lines = real_lines()
awkward = awkward_texts(lines)
open("lines.txt", "w", encoding="utf-8").write("\n".join(lines) + "\n")
write_json("awkward.json", awkward)
bases = {
    "byte_level": train(lines, pre_tokenizers.ByteLevel(add_prefix_space=False), 1600, None),
    "pieces": train(lines, pre_tokenizers.Metaspace(prepend_scheme="always"), 3000, 900, unk_token="<unk>", fuse_unk=True, byte_fallback=True),
}
add_unmerged(bases["byte_level"][0], ["ĠGeometry", "ĠBenutzer", "hello", ".hello"])
add_unmerged(bases["pieces"][0], ["▁hello", "▁Hello"])
for name, (vocabulary, merges) in bases.items():
    write_json(f"{name}.json", {"vocab": vocabulary, "merges": merges})
hashes = {}
for name, (base, joined, *rest) in families(len(bases["byte_level"][0]), len(bases["pieces"][0])).items():
    vocabulary, merges = bases[base]
    value = document(vocabulary, base, joined, *rest)
    write_json(f"{name}.json", value)
    value["model"]["vocab"] = vocabulary
    value["model"]["merges"] = [" ".join(m) for m in merges] if joined else merges
    tokenizer = Tokenizer.from_str(json.dumps(value))
    if name in ("gpt2", "llama3", "qwen2"):
        # As ByteLevel spells them, a character is a byte.
        hashes[name + ".words"] = [fnv([len(w) for w, _ in tokenizer.pre_tokenizer.pre_tokenize_str(t)]) for t in lines + awkward]
    for special in (False, True):
        tokenizer.encode_special_tokens = not special
        texts = awkward if special else lines + awkward
        hashes[name + ".special" * special] = [fnv(e.ids) for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
model = trained_by_sentencepiece(lines)
write_json("sentencepiece.json", [[p.piece, p.score, p.type] for p in model.pieces])
for name, model in {"sentencepiece": model, "gemma3_270m": of_gguf(sys.argv[1])}.items():
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    hashes[name] = [fnv(processor.encode(t)) for t in lines + awkward]
header, at = {}, 0
for name, values in hashes.items():
    header[name] = {"dtype": "U32", "shape": [len(values)], "data_offsets": [at, at + 4 * len(values)]}
    at += 4 * len(values)
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open("ids.safetensors", "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text)
    for values in hashes.values():
        file.write(np.array(values, np.uint32).tobytes())
