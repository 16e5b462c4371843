"""Streams: asyncio, threads, and the end of the interpreter."""

import asyncio
import os
import pathlib
import subprocess
import sys
import threading
from typing import Any, Dict, List

import pytest
from conftest import MODEL

import libsamba as samba

PROMPT = "It was a dark night, and"


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
        for _ in range(25):  # dropped while they run, which frees the session for the next
            next(s.stream(max_tokens=1000, ignore_eos=True, sampler=samba.Sampler(seed=1)))


def test_suspending(model: samba.Model) -> None:
    """What a stream gives, it gives with stops in between, and so does one from its snapshot."""
    how: Dict[str, Any] = dict(sampler=samba.Sampler(seed=2, temperature=1.2), ignore_eos=True)
    with model.session() as plain, model.session() as s:
        whole = list(plain.generate(PROMPT, max_tokens=12, **how))
        stream = s.stream(PROMPT, max_tokens=12, **how)
        with pytest.raises(samba.StateError):
            stream.resume()
        got = [next(stream) for _ in range(4)]
        image = stream.suspend()
        with pytest.raises(samba.StateError):
            stream.suspend()
        assert image.info.position == s.position == got[-1].position + 1
        with model.session(image) as other:
            assert list(other.stream(max_tokens=8, **how)) == whole[4:]
        late: List[samba.Piece] = []
        reader = threading.Thread(target=lambda: late.append(next(stream)))
        reader.start()
        reader.join(0.15)
        assert reader.is_alive() and not late  # a reader waits with it
        stream.resume()
        reader.join(60)
        assert [*got, *late, *stream] == whole
        assert s.tokens == plain.tokens and s.logits.tobytes() == plain.logits.tobytes()
        for ended in (stream.suspend, stream.resume):
            with pytest.raises(samba.StateError):
                ended()


def test_cancelling(model: samba.Model) -> None:
    with model.session() as s:
        stream = s.stream(PROMPT, max_tokens=10**9, ignore_eos=True)
        first = next(stream)
        threading.Timer(0.05, stream.cancel).start()
        pieces = [first, *stream]
        assert stream.reason == "cancelled" and stream.n_tokens == len(pieces)
        assert s.position == pieces[-1].position + 1
        stream.cancel()
        s.feed([1])


def test_limits_priorities_and_figures(tiny_folder: pathlib.Path) -> None:
    with samba.Model.load(tiny_folder) as m, m.session() as a, m.session() as b:
        before = m.stream_stats
        assert before.n_open == before.n_passes == 0
        m.set_stream_limits(max_state_bytes=1)
        with pytest.raises(samba.LimitError, match="max_state_bytes"):
            a.stream([1], max_tokens=4)
        with pytest.raises(samba.InvalidArgumentError):
            m.set_stream_limits(rows_per_pass=100000)
        m.set_stream_limits(max_gap_ms=10, rows_per_pass=64)
        one = a.stream([1], max_tokens=4, ignore_eos=True, priority=100)
        two = b.stream([1], max_tokens=4, ignore_eos=True, priority=1, queue_depth=1)
        assert m.stream_stats.n_open == 2
        assert [p.token for p in one] == [p.token for p in two]
        for priority in (101, -1):
            with pytest.raises(samba.InvalidArgumentError):
                a.stream(max_tokens=1, priority=priority)
        after = m.stream_stats
        assert after.n_open == 0 and after.n_rows >= 10 and after.n_passes and after.pass_seconds > 0


def test_exit_with_everything_alive() -> None:
    """Nothing crashes, hangs or prints when the interpreter ends."""
    code = """
import asyncio, sys, threading
import libsamba as samba
m = samba.Model.load(sys.argv[1]); s = m.session(); s.feed("a b c")
g = s.generate(stop="zz"); next(g); row = s.logits; image = s.snapshot(); k = s.clone()
sampler = samba.Sampler(mask=lambda state: None).add_stage(lambda state, candidates: None)
how = dict(max_tokens=100000, ignore_eos=True)
async def main():
    global stream
    stream = k.stream(**how)
    await stream.__anext__()
asyncio.run(main())
calling = s.clone().stream(sampler=sampler, **how); next(calling)
paused = s.clone().stream(**how); next(paused); paused.suspend()
read = threading.Event()
def reader():
    for piece in s.clone().stream(**how):
        read.set()
threading.Thread(target=reader, daemon=True).start(); read.wait()
cache = samba.PrefixCache(m); cache.eval(m.session(), "a b c")
cycle = [s, g]; cycle.append(cycle)
print("end")
"""
    path = os.environ.get("SAMBA_MODEL", str(MODEL))
    done = subprocess.run(
        [sys.executable, "-c", code, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"end\n", b"")
