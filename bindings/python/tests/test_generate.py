"""Generation: what C gives, Python gives; stop strings; the session between pieces; overhead."""

import os
import pathlib
import random
import subprocess
import time
from typing import Any, Dict, List

import pytest
from conftest import SANITIZED

import libsamba as samba
from libsamba._declarations import SAMBA_YES
from libsamba._ffi import NULL, ffi, lib, options

PROMPT = "It was a dark night, and"


def test_same_as_c(model: samba.Model, tmp_path: pathlib.Path) -> None:
    program = os.environ.get("SAMBA_REFERENCE")
    if not program:
        pytest.skip("tests/run.sh builds the C program")
    path = os.environ.get("SAMBA_MODEL")
    assert path
    out = tmp_path / "logits"
    printed = subprocess.run(
        [program, path, PROMPT, "60", str(out)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    sampler = samba.Sampler(temperature=0.8, top_p=0.9, seed=7)
    with model.session() as s:
        pieces = list(s.generate(PROMPT, sampler=sampler, max_tokens=60, ignore_eos=True))
        assert [p.token for p in pieces if p.token >= 0] == [int(t) for t in printed.split()]
        assert s.logits.tobytes() == out.read_bytes()
    assert len({p.token for p in pieces}) > 10


def test_pieces_are_those_of_the_callback(model: samba.Model) -> None:
    """Texts, log-probs and alternatives of samba_session_generate."""
    events = []

    @ffi.callback("samba_token_fn")  # type: ignore[untyped-decorator,unused-ignore]
    def on_token(_user: Any, e: Any) -> int:
        e = ffi.cast("samba_token_event *", e)
        top = [(t.token, t.logprob) for t in e.top[0 : e.n_top]]
        text = bytes(ffi.buffer(e.text, e.text_size)).decode()
        events.append((text, e.token, e.logprob, e.position, top))
        return 0

    with model.session() as s, model.session() as c:
        c.feed(PROMPT)
        o = options("samba_generate_options", max_tokens=20, top_logprobs=3)
        assert not lib.samba_session_generate(c._open(), NULL, o, on_token, NULL, NULL, NULL)
        pieces = s.generate(PROMPT, max_tokens=20, top_logprobs=3)
        got = [(str(p), p.token, p.logprob, p.position, list(p.top)) for p in pieces]
    assert got == events


@pytest.mark.parametrize("stop", ["was", "s shinin", " ", "zzz", "e moon was shining brightly", ["ly.", "zz"]])
def test_stop_strings(model: samba.Model, stop: "str | List[str]") -> None:
    with model.session() as s, model.session() as plain:
        full = "".join(plain.generate(PROMPT, max_tokens=24))
        stops = [stop] if isinstance(stop, str) else stop
        cut = min(full.find(t) if t in full else len(full) for t in stops)
        g = s.generate(PROMPT, max_tokens=24, stop=stop)
        pieces = list(g)
        assert "".join(pieces) == full[:cut]
        assert g.reason == ("stop" if cut < len(full) else "length")
        assert g.n_tokens == s.position - len(model.tokenize(PROMPT))
        assert [p.token for p in pieces] == s.tokens[len(s.tokens) - g.n_tokens :]
        with model.session() as again:
            again.feed(s.tokens)
            assert again.logits.tobytes() == s.logits.tobytes()


def test_stop_strings_are_those_of_streams(model: samba.Model) -> None:
    """Whatever waits, the session stands behind the last piece, with its checkpoints; pieces, end
    and state are those of the C library's streams and of a generation of that length."""
    sampler, draw = samba.Sampler(seed=3, temperature=1.5), random.Random(5)
    how: Dict[str, Any] = dict(sampler=sampler, max_tokens=32, ignore_eos=True)
    with model.session(checkpoint_interval=16) as base:
        base.feed(PROMPT * 6)
        base.pin()
        with base.clone() as c:
            text = "".join(c.generate(PROMPT, **how))
        for _ in range(12):
            stops = []
            for _ in range(draw.randint(1, 3)):
                begin = draw.randrange(len(text))
                stops.append(text[begin : begin + draw.choice([1, 3, 8, 30])] + draw.choice(["", "", "~"]))
            with base.clone() as a, base.clone() as b, base.clone() as plain:
                g, pieces = a.generate(PROMPT, stop=stops, **how), []
                for piece in g:
                    pieces.append(piece)
                    assert a.position == piece.position + 1 and a.tokens[-1] == piece.token
                stream = b.stream(PROMPT, stop=stops, **how)
                assert [(p, p.token, p.logprob) for p in stream] == [(p, p.token, p.logprob) for p in pieces]
                assert (g.reason, g.stop_text, g.n_tokens) == (stream.reason, stream.stop_text, len(pieces))
                plain.feed(PROMPT)
                for token in a.tokens[plain.position :]:
                    plain.feed([token])
                assert a.logits.tobytes() == b.logits.tobytes() == plain.logits.tobytes()
                assert a.stats.decode_tokens >= len(pieces)
                back = [[s.rewind(p, dry_run=True) for p in range(a.position)] for s in (a, plain)]
                assert back[0] == back[1]
                assert a.rewind(base.position).replayed == 0


def test_which_stop_string_counts(model: samba.Model) -> None:
    """That which is complete first; of several, the longest."""
    with model.session() as s:
        pieces = list(s.generate(PROMPT, max_tokens=24))
    at = next(i for i, p in enumerate(pieces) if i > 1 and len(p) > 4)
    before, piece = pieces[at - 1][-1], str(pieces[at])
    short, longer, early = piece[1:3], piece[:3], before + piece[:4]
    for stops, wanted in (([early, short], short), ([early, short, longer], longer)):
        with model.session() as s, model.session() as t:
            g, stream = s.generate(PROMPT, stop=stops), t.stream(PROMPT, stop=stops)
            assert list(g) == list(stream) and g.stop_text == stream.stop_text == wanted


def test_what_is_refused(model: samba.Model, tiny: samba.Model) -> None:
    """By generate and by streams, before anything has been fed."""
    bad: List[Dict[str, Any]] = [
        *(dict(stop=stop) for stop in ("", "a\0b", "x" * 4097, ["x"] * 65)),
        dict(top_logprobs=65),
        dict(stop_tokens=[model.n_vocab]),
    ]
    with model.session() as s:
        for how in bad:
            for begin in (s.generate, s.stream):
                with pytest.raises(samba.InvalidArgumentError):
                    begin(PROMPT, **how)
        for begin, n in ((s.generate, -1), (s.stream, 0)):
            with pytest.raises(samba.InvalidArgumentError):
                begin(PROMPT, max_tokens=n)
        assert s.position == 0
    with tiny.session() as s:  # more than there are: all
        for begin in (s.generate, s.stream):
            (piece,) = begin([1], max_tokens=1, top_logprobs=64, ignore_eos=True)
            assert len(piece.top) == tiny.n_vocab


def test_breaking_out(model: samba.Model) -> None:
    """The session is the caller's between pieces, also while pieces wait."""
    with model.session() as plain:
        whole = list(plain.generate(PROMPT, max_tokens=8))
    text = "".join(whole)
    assert all(whole[:5])
    hold = text[1:-2] + "~"  # might have begun all the way
    with model.session() as s:
        with s.generate(PROMPT, stop=hold, max_tokens=8) as g:
            first = next(g)
            assert s.position == first.position + 1
        assert g.reason == "closed"
        assert list(s.generate(max_tokens=7)) == whole[1:]
    with model.session() as s:
        for piece in s.generate(PROMPT, stop=hold, max_tokens=8):
            break
        assert s.position == piece.position + 1
        assert list(s.generate(max_tokens=7)) == whole[1:]
    with model.session() as s:  # moved on by the caller: what was drawn ahead is void
        g = s.generate(PROMPT, stop=hold, max_tokens=8)
        next(g)
        s.feed([1, 2])
        assert next(g).position == s.position - 1 == first.position + 3
    with model.session() as s:  # and it is not the generation's to take from a stream
        g = s.generate(PROMPT, stop=hold, max_tokens=8)
        next(g)
        with s.stream(max_tokens=1) as stream:
            with pytest.raises(samba.BusyError):
                next(g)
            assert g.reason == "error" and list(g) == []
            assert list(stream) == whole[1:2]


def test_failing_while_pieces_wait(model: samba.Model) -> None:
    calls = []

    def late(state: samba.SamplerState) -> None:
        calls.append(state.position)
        if len(calls) == 5:
            raise KeyError("late")

    with model.session() as s, model.session() as plain:
        whole = list(plain.generate(PROMPT, max_tokens=8))
        g = s.generate(PROMPT, sampler=samba.Sampler(mask=late, temperature=0), stop="".join(whole) + "~")
        with pytest.raises(KeyError, match="late"):
            next(g)
        assert s.position == whole[0].position and g.reason == "error" and list(g) == []
        assert list(s.generate(max_tokens=8)) == whole


def test_overhead(tiny_folder: pathlib.Path) -> None:
    """Microseconds per token that the binding adds to drawing and feeding: CPU time of the thread,
    least of rounds that take turns, for the machine may be busy."""
    n, c_loop, ours = 100, [], []
    context = samba.Context(threads=1)  # so that no time goes into waiting for others
    with context, samba.Model.load(tiny_folder, context=context) as m:
        for _ in range(40):
            with m.session() as s:
                s.feed([1, 2])
                o = options("samba_generate_options", max_tokens=n, ignore_eos=SAMBA_YES)
                begin = time.thread_time()
                assert not lib.samba_session_generate(s._open(), NULL, o, NULL, NULL, NULL, NULL)
                c_loop.append(time.thread_time() - begin)
            with m.session() as s:
                s.feed([1, 2])
                g = s.generate(max_tokens=n, ignore_eos=True)
                begin = time.thread_time()
                assert sum(1 for _ in g) == n
                ours.append(time.thread_time() - begin)
    each = [min(times) / n * 1e6 for times in (c_loop, ours)]
    print(f"overhead per token: {each[1] - each[0]:.1f} us (C loop {each[0]:.1f} us)")
    assert SANITIZED or each[1] - each[0] < 20
