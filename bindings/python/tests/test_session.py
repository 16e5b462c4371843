"""Sessions: what C gives, Python gives; views that stay; order of freeing; threads; asyncio."""

import asyncio
import gc
import os
import pathlib
import pickle
import subprocess
import sys
import threading
import time
from typing import Any, Dict, List

import numpy
import pytest
from conftest import MODEL

import libsamba as samba
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


def test_logits_stay(model: samba.Model) -> None:
    s = model.session()
    with pytest.raises(samba.StateError):
        s.logits
    s.feed([1, 2, 3], outputs="all")
    rows, last = s.all_logits, s.logits
    assert rows.shape == (3, model.n_vocab) and last.shape == (model.n_vocab,)
    assert rows.dtype == numpy.float32 and not last.flags.writeable
    with pytest.raises(ValueError):
        last[0] = 1
    with pytest.raises(ValueError):
        rows.flags.writeable = True
    before, address = rows.copy(), rows.ctypes.data
    for _ in range(5):
        s.feed([4, 5])
        assert s.logits.ctypes.data != address
    assert s.logits.tobytes() != last.tobytes()
    s.reset()
    s.close()
    gc.collect()
    assert rows.tobytes() == before.tobytes() and last.tobytes() == before[-1].tobytes()
    assert s.closed


def test_buffer_needs_no_numpy(model: samba.Model) -> None:
    with model.session() as s:
        s.feed([1, 2])
        view = s.logits_buffer()
        assert view.shape == (1, model.n_vocab) and view.format == "f" and view.readonly
        assert view.tobytes() == s.logits.tobytes()


def test_chunks_clones_snapshots(model: samba.Model) -> None:
    tokens = model.tokenize(PROMPT * 4)
    with model.session() as whole, model.session() as cut:
        whole.feed(tokens)
        for i in range(0, len(tokens), 7):
            cut.feed(tokens[i : i + 7])
        twin = cut.clone()
        image = cut.snapshot(b"mine")
        bits = whole.logits.tobytes()
        assert cut.logits.tobytes() == twin.logits.tobytes() == bits
        cut.feed([5, 6])
        assert cut.position == len(tokens) + 2 and twin.position == len(tokens)
        cut.restore(image)
        other = model.session(image)
        image.close()
        assert cut.logits.tobytes() == other.logits.tobytes() == bits
        assert cut.tokens == other.tokens == tokens
        whole.feed([9])
        for s in (cut, other, twin):
            s.feed([9])
            assert s.logits.tobytes() == whole.logits.tobytes()


def test_score_and_logprob(model: samba.Model) -> None:
    tokens = model.tokenize(PROMPT)
    with model.session() as a, model.session() as b:
        scores = a.score(tokens)
        b.feed(tokens, outputs="all")
        assert scores[0] == 0
        assert [b.logprob(t, i) for i, t in enumerate(tokens[1:])] == scores[1:]
        top = b.top_logprobs(3)
        assert top[0].token == int(b.logits.argmax()) and len(top) == 3
        assert b.sample().token == top[0].token


def test_snapshot_bytes(model: samba.Model, tmp_path: pathlib.Path) -> None:
    """As bytes, as a file, pickled, in another process: the same bits go on."""
    with model.session() as s:
        list(s.generate(PROMPT, max_tokens=5))
        image = s.snapshot(b"mine")
        file = tmp_path / "s.samba"
        image.save(file)
        copies = [
            samba.Snapshot.from_bytes(image.to_bytes(codec="raw")),
            samba.Snapshot.load(file),
            pickle.loads(pickle.dumps(image)),
        ]
        for copy in copies:
            assert copy.metadata == b"mine" and copy.tokens == s.tokens
            assert copy.info.fingerprint == model.info.fingerprint
            with model.session(copy) as t:
                assert t.logits.tobytes() == s.logits.tobytes()
                t.feed([7])
                s.feed([7])
                assert t.logits.tobytes() == s.logits.tobytes()
            s.restore(image)
        data = bytearray(image.to_bytes())
        data[len(data) // 2] ^= 1
        with pytest.raises(samba.SnapshotFormatError):
            samba.Snapshot.from_bytes(data)
        wanted = "".join(s.generate(max_tokens=6))
    code = """
import sys, pickle, libsamba as samba
s = samba.Model.load(sys.argv[1]).session(samba.Snapshot.load(sys.argv[2]))
sys.stdout.write("".join(s.generate(max_tokens=6)))
"""
    path = os.environ.get("SAMBA_MODEL", str(MODEL))
    command = [sys.executable, "-c", code, path, str(file)]
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode() == wanted


def test_snapshots_are_those_of_c(model: samba.Model, tmp_path: pathlib.Path) -> None:
    """The command samba-lm, which is C, goes on from Python's file, and Python from its."""
    command = os.environ.get("SAMBA_LM")
    if not command:
        pytest.skip("tests/run.sh names the command")
    path = os.environ.get("SAMBA_MODEL", str(MODEL))
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"

    def run(*arguments: str) -> str:
        done = subprocess.run([command, "generate", path, *arguments], stdout=subprocess.PIPE, check=True)
        return done.stdout.decode().strip()

    with model.session() as s:
        s.feed(PROMPT)
        s.snapshot().save(ours)
        wanted = "".join(s.generate(max_tokens=10))
    resumed = run("--resume", str(ours), "--save", str(theirs), "-n", "10", "--greedy")
    assert resumed.endswith(wanted.strip())
    with model.session(samba.Snapshot.load(theirs)) as t, model.session() as plain:
        plain.feed(t.tokens)
        assert t.position == len(model.tokenize(PROMPT)) + 10
        assert t.logits.tobytes() == plain.logits.tobytes()


def test_other_models_snapshot(model: samba.Model, tiny: samba.Model) -> None:
    with model.session() as s, tiny.session() as t:
        s.feed([1])
        t.feed([2])
        before = t.logits.tobytes()
        with pytest.raises(samba.SnapshotMismatchError):
            t.restore(s.snapshot())
        assert t.logits.tobytes() == before and t.position == 1


def test_rewind(model: samba.Model) -> None:
    tokens = model.tokenize(PROMPT * 30)
    with model.session() as s, model.session() as plain:
        s.feed(tokens)
        s.pin()
        s.feed([1, 2, 3])
        report = s.rewind(-3)
        assert (report.position, report.replayed, report.exact) == (len(tokens), 0, True)
        back = s.rewind(100)
        assert back.position == 100 == s.position and back.exact
        plain.feed(tokens[:100])
        assert s.logits.tobytes() == plain.logits.tobytes() and s.tokens == tokens[:100]
        with pytest.raises(samba.InvalidArgumentError):
            s.rewind(101)
        with pytest.raises(samba.NotFoundError):
            s.unpin(50)


def test_speculation(model: samba.Model) -> None:
    with model.session() as a, model.session() as b:
        a.feed([1, 2, 3])
        b.feed([1])
        b.propose([2, 3, 4])
        b.keep(2)
        assert a.logits.tobytes() == b.logits.tobytes()


def test_batch(model: samba.Model) -> None:
    with model.session() as a, model.session() as b, model.session() as c:
        c.feed([1, 2, 3])
        bad = [model.n_vocab]
        errors = samba.eval_batch([(a, [1, 2, 3]), (b, bad)])
        assert errors[0] is None and isinstance(errors[1], samba.InvalidArgumentError)
        assert a.logits.tobytes() == c.logits.tobytes() and b.position == 0


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


def test_breaking_out(model: samba.Model) -> None:
    with model.session() as s:
        with s.generate(PROMPT, stop="zzz") as g:
            first = next(g)
        assert s.position == first.position + 1 and g.reason == "closed"
        rest = list(s.generate(max_tokens=2))
        assert rest[0].position == first.position + 1


def test_masks_and_their_failures(model: samba.Model) -> None:
    seen = []

    def only(state: samba.SamplerState) -> List[int]:
        seen.append(state.position)
        return [42, 43]

    with model.session() as s:
        g = s.generate([1, 2], sampler=samba.Sampler(mask=only, seed=1), max_tokens=5)
        assert {p.token for p in g} <= {42, 43} and seen == [2, 3, 4, 5, 6]

        def broken(state: samba.SamplerState) -> None:
            raise KeyError("no grammar")

        with pytest.raises(KeyError, match="no grammar"):
            list(s.generate(sampler=samba.Sampler(mask=broken)))
        assert s.position == 7
    with pytest.raises(samba.InvalidArgumentError):
        samba.Sampler(top_p=2.0)


def test_any_order_of_ends(tiny_folder: pathlib.Path) -> None:
    context = samba.Context(threads=1)
    m = samba.Model.load(tiny_folder, context=context)
    s = m.session()
    s.feed([1, 2])
    image, row = s.snapshot(), s.logits
    context.close()
    m.close()
    m.close()
    s.feed([3])
    with pytest.raises(samba.StateError):
        m.info
    bits = row.tobytes()
    s.close()
    s.close()
    with pytest.raises(samba.StateError, match="session is closed"):
        s.feed([1])
    del m, s, context
    gc.collect()
    image.close()
    assert row.tobytes() == bits


def test_ten_thousand_sessions(tiny: samba.Model) -> None:
    def kilobytes() -> int:
        pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") // 1024

    def use(n: int) -> None:
        for i in range(n):
            s = tiny.session()
            s.feed([1, 2, 3])
            s.sample()
            if i % 2:
                s.close()

    use(2000)
    before = kilobytes()
    use(10000)
    gc.collect()
    assert kilobytes() - before < 4000


def test_threads(model: samba.Model) -> None:
    tokens = model.tokenize(PROMPT)
    found: Dict[int, bytes] = {}

    def work(i: int) -> None:
        with model.session() as s:
            list(s.generate(tokens, sampler=samba.Sampler(seed=i, top_k=40), max_tokens=20))
            found[i] = s.logits.tobytes()

    threads = [threading.Thread(target=work, args=(i % 4,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    together = dict(found)
    for i in range(4):
        work(i)
    assert together == found and len(set(found.values())) == 4


def test_gil_is_released(model: samba.Model) -> None:
    """Another thread counts while a long prompt is read."""
    ticks, done = 0, threading.Event()

    def read() -> None:
        with model.session() as s:
            s.feed([1, 2, 3, 4] * 300)
        done.set()

    t = threading.Thread(target=read)
    t.start()
    while not done.is_set():
        ticks += 1
        time.sleep(0.001)
    t.join()
    assert ticks > 10


def test_close_waits_for_a_call(model: samba.Model) -> None:
    s = model.session()
    cancel = samba.Cancel()
    raised = []

    def read() -> None:
        try:
            s.feed([1, 2, 3, 4] * 5000, cancel=cancel)
        except samba.CancelledError as error:
            raised.append(error)

    t = threading.Thread(target=read)
    t.start()
    time.sleep(0.05)
    cancel.request()
    s.close()
    t.join()
    assert s.closed and raised


def test_streams(model: samba.Model) -> None:
    async def collect(n: int) -> str:
        with model.session() as s:
            return "".join([p async for p in s.stream(PROMPT, max_tokens=n)])

    async def cancel_soon() -> None:
        with model.session() as s:
            out: List[samba.Piece] = []

            async def consume() -> None:
                async for piece in s.stream(PROMPT, max_tokens=10000, ignore_eos=True):
                    out.append(piece)

            task = asyncio.create_task(consume())
            while len(out) < 3:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert s.position == out[-1].position + 1
            more = s.stream(max_tokens=3, ignore_eos=True)
            with pytest.raises(samba.BusyError):
                s.feed([1])
            assert [p.position async for p in more] == [s.position - 3 + i for i in range(3)]
            with model.session() as again:
                again.feed(s.tokens)
                assert again.logits.tobytes() == s.logits.tobytes()

    async def main() -> None:
        texts = await asyncio.gather(*(collect(n) for n in (5, 12, 12)))
        with model.session() as s:
            full = "".join(s.generate(PROMPT, max_tokens=12))
        assert texts[1] == texts[2] == full and full.startswith(texts[0])
        for _ in range(3):
            await cancel_soon()

    asyncio.run(main())


def test_streams_on_threads(model: samba.Model) -> None:
    def mask(state: samba.SamplerState) -> None:
        raise KeyError("no grammar")

    with model.session() as s, model.session() as plain:
        stream = s.stream(PROMPT, max_tokens=24, stop="s shinin", top_logprobs=2)
        pieces = list(stream)
        wanted = list(plain.generate(PROMPT, max_tokens=24, stop="s shinin", top_logprobs=2))
        assert pieces == wanted and [p.token for p in pieces] == [p.token for p in wanted]
        assert [p.top for p in pieces] == [p.top for p in wanted]
        assert (stream.reason, stream.stop_text) == ("stop", "s shinin")
        assert s.tokens == plain.tokens and s.logits.tobytes() == plain.logits.tobytes()
        late = s.stream(max_tokens=100000, ignore_eos=True, deadline=0.05)
        assert sum(1 for _ in late) == late.n_tokens and late.reason == "deadline"
        with pytest.raises(KeyError, match="no grammar"):
            list(s.stream(sampler=samba.Sampler(mask=mask)))
        for _ in range(50):  # dropped while they run
            next(s.stream(max_tokens=1000, ignore_eos=True, sampler=samba.Sampler(seed=1)))
            gc.collect()


def test_exit_with_everything_alive() -> None:
    """Nothing crashes, hangs or prints when the interpreter ends."""
    code = """
import asyncio, sys, threading
import libsamba as samba
m = samba.Model.load(sys.argv[1]); s = m.session(); s.feed("a b c")
g = s.generate(stop="zz"); next(g); row = s.logits; image = s.snapshot(); k = s.clone()
sampler = samba.Sampler(mask=lambda state: None)
async def main():
    global stream
    stream = k.stream(max_tokens=100000, ignore_eos=True)
    await stream.__anext__()
asyncio.run(main())
cycle = [s, g]; cycle.append(cycle)
print("end")
"""
    path = os.environ.get("SAMBA_MODEL", str(MODEL))
    done = subprocess.run(
        [sys.executable, "-c", code, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"end\n", b"")


def test_overhead(tiny: samba.Model) -> None:
    """Microseconds per token that the binding adds to drawing and feeding; printed, and bounded
    loosely, for the machine may be busy."""
    n, best_c, best_python = 400, 1e9, 1e9
    for _ in range(5):
        with tiny.session() as s:
            s.feed([1, 2])
            o = options("samba_generate_options", max_tokens=n, ignore_eos=1)
            t = time.perf_counter()
            assert not lib.samba_session_generate(s._open(), NULL, o, NULL, NULL, NULL, NULL)
            best_c = min(best_c, time.perf_counter() - t)
        with tiny.session() as s:
            s.feed([1, 2])
            g = s.generate(max_tokens=n, ignore_eos=True)
            t = time.perf_counter()
            count = sum(1 for _ in g)
            best_python = min(best_python, time.perf_counter() - t)
            assert count == n
    overhead = (best_python - best_c) / n * 1e6
    print(f"overhead per token: {overhead:.1f} us (C loop {best_c / n * 1e6:.1f} us)")
    assert overhead < 60
