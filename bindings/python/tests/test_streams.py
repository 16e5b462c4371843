"""Streams: asyncio, threads, and the end of the interpreter."""

import asyncio
import gc
import os
import subprocess
import sys
from typing import List

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
