"""Sessions: views that stay, exact copies, order of freeing, threads."""

import gc
import os
import pathlib
import pickle
import subprocess
import sys
import threading
import time
from typing import Dict

import numpy
import pytest
from conftest import MODEL, SANITIZED

import libsamba as samba

PROMPT = "It was a dark night, and"


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
        samba.Snapshot.verify(file)
        parts = {part.name: part for part in samba.Snapshot.load(file).sections}
        assert parts["tokens"].shape == (s.position,) and parts["tokens"].type == "i32"
        assert parts["logits"].shape == (model.n_vocab,) and parts["logits"].sublayer is None
        assert parts["kv"].sublayer is not None and 0 < parts["kv"].stored_bytes
        assert {part.name for part in image.sections} == set(parts)
        data = bytearray(image.to_bytes())
        data[len(data) // 2] ^= 1
        with pytest.raises(samba.SnapshotFormatError):
            samba.Snapshot.from_bytes(data)
        file.write_bytes(data)
        with pytest.raises(samba.SnapshotFormatError):
            samba.Snapshot.verify(file)
        image.save(file)
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

    if SANITIZED:  # which keeps freed memory
        use(500)
        return
    use(2000)
    before = kilobytes()
    use(10000)
    gc.collect()
    more = kilobytes() - before
    print(f"10,000 sessions: {more} KB more")
    assert more < 4000


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
