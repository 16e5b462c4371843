"""Samplers: masks and stages in Python, their failures, logits of one's own."""

import gc
import weakref
from typing import Any, Dict, List

import pytest

import libsamba as samba

PROMPT = "It was a dark night, and"


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


def test_stages(model: samba.Model) -> None:
    """A stage sees what the ones before left, and gives what is drawn from."""
    seen: List[List[samba.Candidate]] = []

    def second(state: samba.SamplerState, candidates: List[samba.Candidate]) -> Any:
        seen.append(candidates)
        assert state.history[-1] == s.tokens[-1] and state.position == s.position and state.branch == 4
        return [(sorted(candidates, key=lambda c: -c.logit)[1].token, 0.0)]

    with model.session() as s:
        s.feed(PROMPT)
        best = s.top_logprobs(3)
        chain = samba.Sampler(top_k=3).add_stage(second)
        drawn = s.sample(chain, branch=4)
        assert sorted(seen[0]) == sorted((t.token, float(s.logits[t.token])) for t in best)
        assert drawn == best[1]  # log-probabilities are of the raw distribution
        looking = samba.Sampler(temperature=0.8, top_k=5, seed=1).add_stage(lambda state, candidates: None)
        plain = samba.Sampler(temperature=0.8, top_k=5, seed=1)
        with s.clone() as t:
            wanted = [p.token for p in t.generate(sampler=plain, max_tokens=8)]
        assert [p.token for p in s.stream(sampler=looking, max_tokens=8)] == wanted


def bad_stages() -> Dict[str, Any]:
    def broken(state: samba.SamplerState, candidates: List[samba.Candidate]) -> None:
        raise KeyError("no stage")

    def stops(state: samba.SamplerState, candidates: List[samba.Candidate]) -> None:
        raise KeyboardInterrupt

    return {
        "raises": (broken, KeyError),
        "interrupt": (stops, KeyboardInterrupt),
        "none left": (lambda state, candidates: [], ValueError),
        "more than given": (lambda state, candidates: [*candidates, (0, 0.0)], ValueError),
        "no pairs": (lambda state, candidates: [1, 2], TypeError),
        "no such token": (lambda state, candidates: [(10**6, 0.0)], samba.InvalidArgumentError),
        "negative token": (lambda state, candidates: [(-1, 0.0)], samba.InvalidArgumentError),
    }


@pytest.mark.parametrize("name", bad_stages())
def test_failures_of_stages(model: samba.Model, name: str, capfd: Any) -> None:
    """They come out where the token was asked for, and nothing has changed."""
    stage, kind = bad_stages()[name]
    chain = samba.Sampler(top_k=3).add_stage(stage)
    with model.session() as s:
        s.feed(PROMPT)
        position, bits = s.position, s.logits.tobytes()
        for draw in (
            lambda: s.sample(chain),
            lambda: list(s.generate(sampler=chain, stop="x")),
            lambda: list(s.stream(sampler=chain)),
            lambda: chain.draw(s.logits),
        ):
            with pytest.raises(kind) as failed:
                draw()
            assert failed.value.__cause__ is None
            assert s.position == position and s.logits.tobytes() == bits
    assert capfd.readouterr() == ("", "")


def test_exceptions_of_two_streams(model: samba.Model) -> None:
    """A failure that no one fetched is not taken for a later one, nor lost to another stream."""

    class Mine(KeyError):
        pass

    def broken(state: samba.SamplerState, candidates: List[samba.Candidate]) -> None:
        raise Mine(f"{state.branch} of {state.history[0]}")

    chain = samba.Sampler(top_k=2).add_stage(broken)
    with model.session() as a, model.session() as b:
        a.feed([1, 2])
        b.feed([3, 2])
        try:
            a.sample(chain, branch=7)
        except Mine as error:
            assert error.args == ("7 of 1",)
            old = weakref.ref(error)
        gc.collect()
        assert old() is None
        one, two = a.stream(sampler=chain, branch=1), b.stream(sampler=chain, branch=1)
        for stream, whose in ((two, "1 of 3"), (one, "1 of 1")):
            with pytest.raises(KeyError, match=whose):
                list(stream)
            assert stream.reason == "error"


def test_drawing_from_own_logits(model: samba.Model) -> None:
    chain = samba.Sampler(temperature=0.9, top_p=0.9, repeat_penalty=1.3, seed=11)
    with model.session() as s:
        s.feed(PROMPT)
        wanted = s.sample(chain, branch=2)
        row = s.logits
        for logits in (row, row.copy(), row.tolist(), s.logits_buffer().cast("B").cast("f")):
            assert chain.draw(logits, history=s.tokens, position=s.position, branch=2) == wanted
        with pytest.raises(TypeError, match="float32"):
            chain.draw(row.astype("f8"))
