"""A model for the lm-evaluation-harness (PyPI: lm-eval).

    import lm_eval
    from libsamba.lm_eval import SambaLM

    lm_eval.simple_evaluate(model=SambaLM("samba-13m.gguf"), tasks=["lambada_openai"])

or `--model samba --model_args model=samba-13m.gguf` after importing this module, which is what
`python -m libsamba.lm_eval` does before it starts the harness's own command.

Requests that begin alike (few-shot examples, the choices of one question) share that beginning:
it is evaluated once, and every request goes on from a clone. Texts of any length are scored in one
pass of bounded memory; nothing is cut into windows.
"""

from __future__ import annotations

import os
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model

from ._context import Context
from ._model import Model
from ._sampler import Sampler
from ._session import Session

Tokens = List[int]

#: Rows of logits that are held at a time while choices are scored.
_ROWS = 64


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the beginning that both have."""
    n = min(len(a), len(b))
    for i in range(n):
        if a[i] != b[i]:
            return i
    return n


class _Prefixes:
    """Sessions at beginnings that requests share. Fed in the order of `_plan`, so that a stack of
    sessions, each at a beginning of the next, is all that is needed."""

    def __init__(self, model: Model, **settings: Any) -> None:
        self._model = model
        self._settings = settings
        self._stack: List[Tuple[int, Session]] = []
        self._last: Tokens = []
        self.n_fed = 0

    def session_at(self, tokens: Tokens, depths: Sequence[int]) -> Session:
        """A session of the caller's own that has read `tokens`; at `depths`, rising, are the
        beginnings that requests to come share with it."""
        common = _shared(self._last, tokens)
        while self._stack and self._stack[-1][0] > common:
            self._stack.pop()[1].close()
        at, session = self._top()
        for depth in depths:
            if depth > at:
                session = self._feed(session, tokens[at:depth])
                self._stack.append((depth, session))
                at = depth
        self._last = tokens
        return self._feed(session, tokens[at:])

    def _top(self) -> Tuple[int, Optional[Session]]:
        return self._stack[-1] if self._stack else (0, None)

    def _feed(self, base: Optional[Session], tokens: Tokens) -> Session:
        session = self._model.session(**self._settings) if base is None else base.clone()
        if tokens:
            session.feed(tokens)
            self.n_fed += len(tokens)
        return session

    def close(self) -> None:
        while self._stack:
            self._stack.pop()[1].close()


def _plan(contexts: Sequence[Tokens]) -> Iterator[Tuple[int, List[int]]]:
    """Indices in the order of the tokens, each with the lengths of the beginnings that requests
    after it share with it and the one before it did not."""
    order = sorted(range(len(contexts)), key=lambda i: contexts[i])
    shared = [_shared(contexts[a], contexts[b]) for a, b in zip(order, order[1:])]
    for place, index in enumerate(order):
        known = shared[place - 1] if place else 0
        depths: List[int] = []
        least = len(contexts[index])
        for n in shared[place:]:
            least = min(least, n)
            if least <= known:
                break
            if not depths or least < depths[-1]:
                depths.append(least)
        yield index, depths[::-1]


def _score(session: Session, tokens: Tokens) -> Tuple[float, bool]:
    """Sum of the log-probabilities of the tokens, and whether each was the likeliest."""
    total, greedy = 0.0, True
    for start in range(0, len(tokens), _ROWS):
        part = tokens[start : start + _ROWS]
        for i, token in enumerate(part):
            row = i - 1  # the first one is scored by the last row of what was fed before
            total += session.logprob(token, row)
            greedy = greedy and session.top_logprobs(1, row)[0].token == token
            if i == 0:
                session.feed(part, outputs="all")
    return total, greedy


@register_model("samba")
class SambaLM(TemplateLM):  # type: ignore[misc,unused-ignore]
    """A libsamba model as lm-eval sees it.

    Args:
        model: a loaded `Model`, or the path of one.
        threads: of a context of its own; default: the default context.
        kv_dtype: see `Session`.
        max_gen_toks: most tokens that generate_until makes where a task says nothing.
        weight_dtype: see `Model.load`.

    Attributes:
        n_evaluated: tokens evaluated for contexts so far, shared ones once.
    """

    def __init__(
        self,
        model: Union[Model, str, "os.PathLike[str]"],
        *,
        threads: Optional[int] = None,
        kv_dtype: Optional[str] = None,
        max_gen_toks: int = 256,
        weight_dtype: Optional[str] = None,
        **_unused: Any,
    ) -> None:
        super().__init__()
        if not isinstance(model, Model):
            context = Context(threads=threads) if threads else None
            model = Model.load(model, context=context, weight_dtype=weight_dtype)
        self._model = model
        self._settings: Dict[str, Any] = {"kv_dtype": kv_dtype, "checkpoint_bytes": 0}
        self._max_gen_toks = max_gen_toks
        self.n_evaluated = 0

    # ------------------------------------------------------------ what the harness asks

    @property
    def eot_token_id(self) -> int:
        """End of text; where the model names none, its BOS, else token 0."""
        info = self._model.info
        for token in (info.eos_token, info.bos_token):
            if token is not None:
                return token
        return 0

    @property
    def prefix_token_id(self) -> int:
        """What stands in front of a text that has no context."""
        bos = self._model.info.bos_token
        return self.eot_token_id if bos is None else bos

    @property
    def tokenizer_name(self) -> str:
        """For request caches: names the model's fingerprint."""
        return "libsamba-" + self._model.info.fingerprint.hex()

    def tok_encode(
        self, string: str, add_special_tokens: Optional[bool] = None, **_unused: Any
    ) -> Tokens:
        """Tokens of a text; special tokens written in it are texts."""
        add = True if add_special_tokens is None else add_special_tokens
        return self._model.tokenizer.encode(string, add_special=add)

    def tok_decode(self, tokens: Sequence[int], **_unused: Any) -> str:
        """Text of tokens."""
        return self._model.tokenizer.decode(tokens)

    # ------------------------------------------------------------ requests

    def _loglikelihood_tokens(
        self, requests: List[Tuple[Any, Tokens, Tokens]], **_unused: Any
    ) -> List[Tuple[float, bool]]:
        results: List[Tuple[float, bool]] = [(0.0, True)] * len(requests)
        prefixes = _Prefixes(self._model, **self._settings)
        contexts = [context for _, context, _ in requests]
        try:
            for index, depths in _plan(contexts):
                key, context, continuation = requests[index]
                with prefixes.session_at(context, depths) as session:
                    results[index] = _score(session, continuation)
                if key is not None:
                    self.cache_hook.add_partial("loglikelihood", key, results[index])
        finally:
            prefixes.close()
        self.n_evaluated += prefixes.n_fed
        return results

    def loglikelihood_rolling(self, requests: List[Any], disable_tqdm: bool = False) -> List[float]:
        """Log-likelihood of whole texts, each in one pass: no windows, bounded memory."""
        results = []
        for request in requests:
            (text,) = request.args
            tokens = self.tok_encode(text, add_special_tokens=False)
            with self._model.session(max_history=0, **self._settings) as session:
                session.feed([self.prefix_token_id])
                results.append(sum(session.score(tokens)))
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, results[-1])
        return results

    def generate_until(self, requests: List[Any], disable_tqdm: bool = False) -> List[str]:
        """Texts up to a stop string: greedy, or sampled where a task asks for it."""
        contexts = [
            self.tok_encode(request.args[0]) or [self.prefix_token_id] for request in requests
        ]
        results = [""] * len(requests)
        prefixes = _Prefixes(self._model, **self._settings)
        try:
            for index, depths in _plan(contexts):
                context_text, how = requests[index].args
                with prefixes.session_at(contexts[index], depths) as session:
                    results[index] = self._generate(session, dict(how))
                self.cache_hook.add_partial("generate_until", (context_text, how), results[index])
        finally:
            prefixes.close()
        self.n_evaluated += prefixes.n_fed
        return results

    def _generate(self, session: Session, how: Dict[str, Any]) -> str:
        until = how.get("until") or []
        stop = [until] if isinstance(until, str) else [s for s in until if s]
        temperature = float(how.get("temperature") or 0.0)
        sampler = None
        if how.get("do_sample", temperature > 0) and temperature > 0:
            sampler = Sampler(
                temperature=temperature,
                top_k=how.get("top_k"),
                top_p=how.get("top_p"),
                seed=how.get("seed"),
                context=self._model.context,
            )
        limit = how.get("max_gen_toks") or how.get("max_new_tokens") or self._max_gen_toks
        pieces = session.generate(sampler=sampler, stop=stop, max_tokens=int(limit))
        return "".join(pieces)


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
