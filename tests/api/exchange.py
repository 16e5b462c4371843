"""One half of exchange.sh: a snapshot that another binding resumes, or resumes one.

exchange.py write|read MODEL SNAPSHOT RESULT

RESULT gets what comes after the snapshot: logits, 12 tokens (i32), logits, little-endian.
"""

import struct
import sys

import libsamba as samba


def go_on(session, sampler, n):
    pieces = list(session.generate(sampler=sampler, max_tokens=n, ignore_eos=True))
    return [piece.token for piece in pieces if piece.token >= 0]


def main(command, model, file, result):
    model = samba.Model.load(model)
    sampler = samba.Sampler(temperature=0.9, top_p=0.95, seed=11)
    if command == "write":
        session = model.session()
        session.feed("It was a dark night, and the old man")
        go_on(session, sampler, 40)
        session.snapshot(b"exchange").save(file)
    else:
        saved = samba.Snapshot.load(file)
        assert saved.metadata == b"exchange", saved.metadata
        session = model.session(saved)
    before = bytes(session.logits_buffer())
    tokens = go_on(session, sampler, 12)
    with open(result, "wb") as out:
        out.write(before + struct.pack(f"<{len(tokens)}i", *tokens) + bytes(session.logits_buffer()))


main(*sys.argv[1:])
