#!/usr/bin/env python3
"""Makes the tokenizers and vectors in tests/token/data with Hugging Face's `tokenizers`.

    pip install tokenizers==0.21.0
    python3 make_vectors.py            # rewrites data/, from data/samba-13m-tokenizer.json and itself

Every tokenizer here is small and trained on text that this file holds or makes, with a fixed seed
(training itself breaks ties at random: a new run gives other, equally good data).
A vector file is binary, little-endian, to keep it small:

    "SVEC" u32 n_texts, then per text: u16 n_bytes, bytes, 4 x ids, 2 x text
    ids:  u16 n, n x u16, in the order (parse_special, add_special) = 00 01 10 11;
          n = 0xFFFF: the same as the list before
    text: u16 n_bytes, bytes: what HF decodes the first and the last id list to;
          n_bytes = 0xFFFF: not given (it has U+FFFD, or is the text before it), 0xFFFE: the text itself
"""
import json
import os
import random
import struct
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"

# ---------------------------------------------------------------- texts

PROSE = [
    "It was the best of times, it was the worst of times, it was the age of wisdom.",
    "Don't you think we'll see? I'M SURE they've said: \"he'd go\", she's gone, you're it.",
    "  leading and trailing spaces  ", "tabs\tand\nnewlines\r\nand\r\rmore\n\n\n  indented\n\t\tdeep",
    "Prices: $1,234.56 or 12345678 or 0x1F and 3.14159e-10; 50% off! ½ ² ③ Ⅻ ٣٤٥ १२३ 〇",
    "int main(void) { return printf(\"%d\\n\", x->y[i++] & ~0xff) == 0 ? 1 : -1; } /* done */",
    "def f(x):\n    if x >= 0:\n        return x ** 2  # square\n\n\nprint(f(3))\n",
    "Grüße aus München, ça va? Être où naïve façade; øre åben; žluťoučký kůň; ŁÓDŹ; İstanbul ıI",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. ПРИВЕТ",
    "Ἐν ἀρχῇ ἦν ὁ λόγος. ΟΔΥΣΣΕΥΣ Σίσυφος", "שלום עולם, זה מבחן", "مرحبا بالعالم، هذا اختبار۔ ١٢٣",
    "नमस्ते दुनिया, यह एक परीक्षण है। क्षत्रिय", "สวัสดีชาวโลก นี่คือการทดสอบ", "안녕하세요 세계 여러분 각",
    "你好，世界！这是一个测试。汉字漢字", "こんにちは世界、これはテストです。カタカナ ﾊﾝｶｸ", "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ ꭰꮃ",
    "Tiếng Việt có dấu: ờ ớ ợ; cafe\u0301 vs caf\u00e9; n\u0303 \u00f1; \u1e9b\u0323; a\u0315\u0300\u05ae\u0062",
    "emoji 😀 👩‍👩‍👧‍👦 👍🏽 🇩🇪🇫🇷 ❤️ ☺︎ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 1️⃣ #️⃣", "ﬁ ﬂ ﬃ ℌ ① ㎏ Å Ω ﷺ ½ x² K",
    "zero\u200bwidth\u200cjoin\u200der\ufeffbom\u00adsoft\u2060word", "spaces:\u00a0nbsp\u2003em\u3000ideographic"
    "\u180emvs\u1680ogham\u2028line\u2029para\u0085nel\u000bvt\u000cff\u001cfs",
    "control \u0000 \u0001 \u0007 \u001b[0m \u007f end", "<|endoftext|> inside <|im_start|>user\nhi<|im_end|>",
    "<s>not special</s> <unk> [MASK] [mask] <mask>", "  <mask>  both sides <mask>word <mask>\n\n<mask>",
    "word tokenword xword word1 _word word. WORD Word  word", "ab abc abcd abcde xyz xyzzy", "<<<|endoftext|>>>",
    "<|endoftext|><|endoftext|> <|endoftext", "▁already▁meta ▁ ▁▁ a", "Ġ Ċ ĉ byte letters âĢĻ", "ſ K 'ſ don'ſ",
    "https://example.com/a/b?c=d&e=f#g user.name@example.co.uk C:\\path\\to\\file.txt ../x/./y",
    "CamelCaseAndsnake_case and kebab-case XMLHttpRequest iPhone15Pro HTML5", "!!!???...---___===+++***///\\\\\\",
    "\n", " ", "", "a", "\r\n", "   ", "\t", "é", "世", "😀", "\u0301", "\u00a0", "  \n  \n", "a\n", "a \n b", " \n",
    "\u0300\u0301 leading marks", "z" + "\u0315\u0300\u05ae\u0327\u0323" * 9, "a\u0327\u0301\u0316\u0300" * 12, "\u1100\u1161\u11a8\uac00\u11a8", "<0x41> <0x0A> <0xZZ>",
    "x" * 120, "ab" * 90, " " * 100, " " * 101 + "x", "\n" * 57, "=" * 77, "1" * 50, "é" * 60, "世" * 45,
    "aAbB" * 50 + "!" * 40, "\t" * 33 + "y", " \t" * 20, "the " * 60, "\u0301" * 40, "😀" * 30,
]

RANGES = [(0x20, 0x7e)] * 6 + [(0, 0x1f), (0x80, 0xff), (0x100, 0x24f), (0x300, 0x36f), (0x370, 0x3ff), (0x400, 0x4ff),
          (0x590, 0x5f4), (0x600, 0x6ff), (0x900, 0x97f), (0xe00, 0xe5b), (0x1100, 0x11ff), (0x1e00, 0x1fff),
          (0x2000, 0x206f), (0x2070, 0x209c), (0x20a0, 0x20bf), (0x2100, 0x218b), (0x2190, 0x23ff), (0x2460, 0x24ff),
          (0x3000, 0x30ff), (0x3200, 0x33ff), (0x4e00, 0x9fff), (0xac00, 0xd7a3), (0xf900, 0xfa6d), (0xfb00, 0xfb06),
          (0xfe00, 0xfe0f), (0xff01, 0xffee), (0x10000, 0x100fa), (0x1d400, 0x1d7ff), (0x1f130, 0x1f189),
          (0x1f300, 0x1f64f), (0xe0100, 0xe01ef), (0xe000, 0xe010), (0x10fff0, 0x10ffff)]
SNIPS = [" ", "  ", "\n", "\r\n", "\t", "'s", "'LL", "'ve", " the", "ing", "123", "<|endoftext|>", "<mask>", " <mask> ", "word",
         "[X]", "<s>", "</s>", "▁", "e\u0301", "a\u0323\u0307", "\u00a0", "\u3000", "...", "0", "Hello", "\u200d", "👍🏽", "YES",
         "ab", "abc", "-tok-", "Tok"]


def random_text(rng):
    out = []
    for _ in range(rng.randrange(1, 14)):
        kind = rng.random()
        if kind < 0.45:
            out.append(rng.choice(SNIPS))
        else:
            lo, hi = rng.choice(RANGES)
            out.append("".join(chr(rng.randint(lo, hi)) for _ in range(rng.randrange(1, 5))))
    return "".join(out)


def texts(seed, n_random):
    rng = random.Random(seed)
    return PROSE + [random_text(rng) for _ in range(n_random)]


def corpus():
    """Without the special tokens: the library never makes those by merging, Hugging Face would."""
    rng = random.Random(11)
    prose = [s for s in PROSE if "<|" not in s and "<mask>" not in s]
    words = " ".join(prose).split()
    for _ in range(900):
        yield " ".join(rng.choice(words) for _ in range(12))
    yield from prose


# ---------------------------------------------------------------- tokenizers

def byte_level(split, vocab_size, **kw):
    """A trained byte-level tokenizer; kw: normalizer, prefix, extra (pre-tokenizers in front)."""
    t = Tokenizer(models.BPE(ignore_merges=kw.get("ignore_merges", False)))
    if kw.get("normalizer"):
        t.normalizer = kw["normalizer"]
    steps = list(kw.get("extra", []))
    if split:
        steps.append(pre_tokenizers.Split(Regex(split), "isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=kw.get("prefix", False), use_regex=not split))
    t.pre_tokenizer = pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, special_tokens=kw.get("special", []),
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    t.train_from_iterator(corpus(), trainer)
    return t


def sentencepiece(vocab_size, metaspace, **kw):
    """A trained Llama-2 style tokenizer: the legacy form with normalisers, or with Metaspace."""
    scheme, split = kw.get("scheme", "always"), kw.get("split", False)
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=kw.get("fuse_unk", True), byte_fallback=kw.get("bytes", True)))
    alphabet = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)] * kw.get("bytes", True)
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, special_tokens=alphabet,
                                  limit_alphabet=150)
    t.train_from_iterator(corpus(), trainer)
    spec = json.loads(t.to_str())
    spec["added_tokens"] = [a for a in spec["added_tokens"] if a["id"] < 3]
    t = Tokenizer.from_str(json.dumps(spec))
    if metaspace:
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
        t.decoder = decoders.Metaspace(prepend_scheme=scheme, split=split)
        if kw.get("bytes", True):
            t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    else:
        t.pre_tokenizer = None
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                       decoders.Strip(" ", 1, 0)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B:1",
                                                     special_tokens=[("<s>", 1)])
    return t


def with_added(t):
    """Every kind of added token; normalized ones only where `t` has a normaliser that can change them."""
    t.add_tokens([
        AddedToken("<mask>", lstrip=True, special=True, normalized=False),
        AddedToken("[X]", rstrip=True, special=False, normalized=False),
        AddedToken("word", single_word=True, special=False, normalized=False),
        AddedToken("-tok-", lstrip=True, rstrip=True, special=False, normalized=True),
        AddedToken("Tok", single_word=True, special=False, normalized=True),
        AddedToken("YES", special=False, normalized=True),
        AddedToken("abc", special=False, normalized=False),
        AddedToken("ab", special=False, normalized=False),
        AddedToken("<|endoftext|>", special=True, normalized=False),
        AddedToken("<|endoftext|>>", special=False, normalized=False),
        AddedToken("é", special=False, normalized=True),
    ])
    return t


def tokenizers():
    llama3 = byte_level(LLAMA3, 700, normalizer=normalizers.NFC(), ignore_merges=True,
                        special=["<|begin_of_text|>", "<|endoftext|>", "<|im_end|>"])
    llama3.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A <|im_end|>", pair="$A $B:1",
                                      special_tokens=[("<|begin_of_text|>", 0), ("<|im_end|>", 2)])])
    yield "llama3-nfc", llama3, 260
    gpt2 = byte_level(None, 600, prefix=True, special=["<|endoftext|>"])
    yield "gpt2-prefix", with_added(gpt2), 260
    yield "smollm", byte_level(None, 450, extra=[pre_tokenizers.Digits(True)], special=["<|endoftext|>"]), 150
    yield "falcon", byte_level(None, 450, extra=[pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Digits(False)]), 150
    yield "o200k-nfkc", byte_level(O200K, 500, normalizer=normalizers.Sequence([
        normalizers.NFKC(), normalizers.Strip(), normalizers.Lowercase()])), 260
    yield "nfd", with_added(byte_level(r"\s+|\w+|[^\w\s]+", 500, normalizer=normalizers.Sequence([
        normalizers.NFD(), normalizers.Replace(Regex(r"\p{Mn}+"), ""), normalizers.Lowercase()]))), 260
    yield "nfkd", byte_level(BLOOM, 450, normalizer=normalizers.NFKD()), 150
    llama2 = sentencepiece(700, False)
    yield "llama2-legacy", llama2, 260
    yield "llama2-added", with_added(sentencepiece(620, False)), 260
    yield "metaspace-first", with_added(sentencepiece(620, True, scheme="first")), 250
    yield "metaspace-split", sentencepiece(450, True, scheme="always", split=True, bytes=False), 150
    yield "metaspace-never", sentencepiece(420, True, scheme="never", split=True, bytes=False, fuse_unk=False), 150
    for i, t in enumerate(splits()):
        yield "split-%d" % i, t, 30


def splits():
    """Byte-level tokenizers trained without a split, then given one: tokens show every cut."""
    P = pre_tokenizers
    whole = byte_level(r"(?m:.{1,40})", 420).to_str()

    def cut(*steps):
        t = Tokenizer.from_str(whole)
        t.pre_tokenizer = P.Sequence(list(steps) + [P.ByteLevel(add_prefix_space=False, use_regex=False)])
        return t
    for behavior in ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]:
        for invert in [False, True]:
            yield cut(P.Split(Regex(r"[aeiou\s]"), behavior, invert))
    yield cut(P.Split("th", "merged_with_next"), P.CharDelimiterSplit("e"))
    yield cut(P.Whitespace())
    yield cut(P.WhitespaceSplit(), P.Punctuation("merged_with_previous"))
    yield cut(P.Split(Regex(r"a*"), "isolated"), P.Split(Regex(r"^|(?m:s.)|\bt\b$"), "isolated"))
    yield cut(P.Split(Regex(r"\h{2,3}|\v|\R|[[b-d]\w]{,2}x|\p{Han}|\p{^Latin}\B"), "isolated"))


# ---------------------------------------------------------------- writing

def pack_ids(ids, before):
    if ids == before:
        return b"\xff\xff"
    return struct.pack("<H%dH" % len(ids), len(ids), *ids)


def pack_text(s):
    b = s.encode()
    return struct.pack("<H", len(b)) + b


def vectors(t, all_texts):
    out = [b"SVEC", struct.pack("<I", len(all_texts))]
    for text in all_texts:
        out.append(pack_text(text))
        lists = []
        for parse in (False, True):
            t.encode_special_tokens = not parse
            for add in (False, True):
                lists.append(t.encode(text, add_special_tokens=add).ids)
        out += [pack_ids(ids, lists[i - 1] if i else None) for i, ids in enumerate(lists)]
        before = None
        for ids in (lists[0], lists[3]):
            s = t.decode(ids, skip_special_tokens=False)
            if "\ufffd" in s or s == before:
                out.append(b"\xff\xff")
            else:
                out.append(b"\xfe\xff" if s == text else pack_text(s))
            before = s
    return b"".join(out)


def write(name, data):
    with open(os.path.join(DATA, name), "wb") as f:
        f.write(data)
    print("%8d  %s" % (len(data), name))


def compact(spec):
    """As small as it gets: merges as "a b"; Hugging Face reads both forms."""
    m = spec["model"]["merges"]
    spec["model"]["merges"] = [" ".join(p) if isinstance(p, list) else p for p in m]
    return json.dumps(spec, ensure_ascii=False, separators=(",", ":"))


def main():
    os.makedirs(DATA, exist_ok=True)
    t = Tokenizer.from_file(os.path.join(DATA, "samba-13m-tokenizer.json"))
    write("samba-13m-vectors.bin", vectors(t, texts(1, 700)))
    for i, (name, t, n) in enumerate(tokenizers()):
        spec = json.loads(t.to_str())
        text = json.dumps(spec, ensure_ascii=False, separators=(",", ":")) if i % 2 else compact(spec)
        again = Tokenizer.from_str(text)
        write(name + "-tokenizer.json", text.encode())
        write(name + "-vectors.bin", vectors(again, texts(100 + i, n)))


if __name__ == "__main__":
    sys.exit(main())
