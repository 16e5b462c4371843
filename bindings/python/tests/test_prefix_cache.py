"""Prefix caches: same bits, honest reports, spilled files, any order of ends."""

import gc
import pathlib
import threading
from typing import List

import pytest

import libsamba as samba

SYSTEM = "You are a careful narrator of old tales. Answer in one sentence. " * 8


def straight(model: samba.Model, prompt: str) -> bytes:
    with model.session() as s:
        s.feed(prompt)
        return s.logits.tobytes()


def test_prompts_that_begin_alike(model: samba.Model) -> None:
    first, second = SYSTEM + "Who is there?", SYSTEM + "Where are we?"
    shared = 0
    for a, b in zip(model.tokenize(first), model.tokenize(second)):
        if a != b:
            break
        shared += 1
    with samba.PrefixCache(model, interval=0) as cache, model.session() as s:
        assert cache.model is model and cache.stats.n_entries == 0
        report = cache.eval(s, first)
        n = len(model.tokenize(first))
        assert report == (0, 0, n, 1, "new", report.explanation, True, False)
        assert "begins" in report.explanation and s.position == n
        again = cache.eval(s, first.encode())
        assert (again.restored, again.replayed, again.reason) == (n, 0, "whole")
        other = cache.eval(s, second)  # nothing stands where the two part
        assert (other.matched, other.restored, other.reason) == (shared, 0, "not_stored")
        third = cache.eval(s, model.tokenize(SYSTEM + "When?"))
        assert third.restored == third.matched == shared  # now it does
        assert s.logits.tobytes() == straight(model, SYSTEM + "When?")
        for piece in s.generate(" ", max_tokens=3):
            pass
        cache.put(s)
        with model.session() as t:
            tokens = [*s.tokens, 7]
            assert cache.eval(t, tokens).replayed == 1
            s.feed([7])
            assert t.logits.tobytes() == s.logits.tobytes() and t.tokens == s.tokens == tokens
        stats = cache.stats
        assert stats.n_hits == 3 and stats.n_misses == 2 and 0 < stats.bytes <= stats.max_bytes
        assert "positions" in repr(cache)
        cache.clear()
        assert cache.stats.n_entries == 0 and cache.eval(s, first).reason == "new"


def test_streams(model: samba.Model, tiny: samba.Model) -> None:
    first, second = SYSTEM + "Who is there?", SYSTEM + "Where are we?"
    n = len(model.tokenize(first))
    with samba.PrefixCache(model) as cache:
        for expected in ("new", "whole"):
            with model.session() as s, model.session() as plain:
                stream = s.stream(first, max_tokens=4, prefix_cache=cache)
                early = stream.prefix_report
                pieces = list(stream)
                assert pieces == list(plain.stream(first, max_tokens=4))
                late = stream.prefix_report
                assert early.reason == late.reason == expected
                assert late.restored + late.replayed == n and s.tokens == plain.tokens
        with model.session() as s:
            stream = s.stream(second, max_tokens=4, prefix_cache=cache)
            cache.close()  # the stream has it
            with model.session() as plain:
                assert list(stream) == list(plain.stream(second, max_tokens=4))
    with model.session() as s, model.session(first_position=5) as late_one, tiny.session() as t:
        other = samba.PrefixCache(model)
        with pytest.raises(samba.StateError, match="cache"):
            _ = s.stream("a", max_tokens=1).prefix_report
        with pytest.raises(samba.StateError):
            late_one.stream("a", max_tokens=1, prefix_cache=other)
        with pytest.raises(samba.MismatchError):
            t.stream([1, 2], max_tokens=1, prefix_cache=other)


def test_outputs_and_refusals(model: samba.Model, tiny: samba.Model) -> None:
    cache, cancel = samba.PrefixCache(model), samba.Cancel()
    with model.session() as s, tiny.session() as t, model.session(first_position=5) as late:
        with pytest.raises(samba.StateError):
            cache.put(s)
        with pytest.raises(samba.MismatchError):
            cache.eval(t, [1])
        with pytest.raises(samba.StateError):
            cache.eval(late, [1])
        with pytest.raises(samba.InvalidArgumentError):
            cache.eval(s, [1], outputs="all")
        with pytest.raises(samba.InvalidArgumentError):
            cache.eval(s, [model.n_vocab])
        cancel.request()
        with pytest.raises(samba.CancelledError):
            cache.eval(s, SYSTEM, cancel=cancel)
        cache.eval(s, [1, 2], outputs="none")
        with pytest.raises(samba.StateError):
            s.logits
        with pytest.raises(samba.StateError):
            cache.flush()
        stream = s.stream([3], max_tokens=5)
        with pytest.raises(samba.BusyError):
            cache.eval(s, [1])
        stream.close()
    with pytest.raises(samba.NotFoundError):
        samba.PrefixCache(model, spill_directory="/no/such/folder")
    with pytest.raises(samba.LimitError), model.session() as s:
        s.feed([1])
        samba.PrefixCache(model, max_bytes=1).put(s)


def test_spilled_files(model: samba.Model, tmp_path: pathlib.Path) -> None:
    with samba.PrefixCache(model, spill_directory=tmp_path) as cache, model.session() as s:
        cache.eval(s, SYSTEM)
        cache.flush()
        assert cache.stats.n_files == len(list(tmp_path.iterdir())) >= 1
    with samba.PrefixCache(model, spill_directory=tmp_path) as cache, model.session() as s:
        report = cache.eval(s, SYSTEM)
        assert report.from_file and report.replayed == 0 and cache.stats.n_file_hits == 1
        assert s.logits.tobytes() == straight(model, SYSTEM)
        for path in tmp_path.iterdir():
            samba.Snapshot.verify(path)
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
    with samba.PrefixCache(model, spill_directory=tmp_path) as cache, model.session() as s:
        report = cache.eval(s, SYSTEM)
        assert report.reason == "file_failed" and cache.stats.n_file_failures
        assert s.logits.tobytes() == straight(model, SYSTEM)


def test_any_order_of_ends(tiny_folder: pathlib.Path) -> None:
    m = samba.Model.load(tiny_folder)
    cache, s = samba.PrefixCache(m), m.session()
    m.close()
    del m
    gc.collect()
    assert cache.eval(s, [1, 2, 3]).replayed == 3
    cache.close()
    cache.close()
    assert cache.closed and repr(cache) == "<PrefixCache closed>"
    for use in (cache.clear, cache.flush, lambda: cache.stats, lambda: cache.put(s), lambda: cache.eval(s, [1])):
        with pytest.raises(samba.StateError, match="prefixcache is closed"):
            use()
    with pytest.raises(samba.StateError, match="prefixcache is closed"), cache:
        pass
    s.feed([4])


def test_threads_and_closing_meanwhile(model: samba.Model) -> None:
    """Calls of several threads run at once, and close() pulls nothing from under them."""
    wanted = {text: straight(model, SYSTEM + text) for text in "abcd"}
    cache, wrong = samba.PrefixCache(model, interval=16), []

    def work(text: str) -> None:
        with model.session() as s:
            try:
                for new in range(model.n_vocab):  # takes a while, so that close() comes meanwhile
                    cache.eval(s, [ord(text), *[new] * 100])
                    cache.eval(s, SYSTEM + text)
                    if s.logits.tobytes() != wanted[text]:
                        wrong.append(text)
                    done[text].set()
            except samba.StateError as error:
                assert "closed" in str(error)

    done = {text: threading.Event() for text in wanted}
    threads: List[threading.Thread] = [threading.Thread(target=work, args=(t,)) for t in wanted]
    for thread in threads:
        thread.start()
    for event in done.values():
        assert event.wait(60)
    cache.close()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not wrong
