"""The model for lm-eval, with that package, on small tasks of the tests' own."""

import json
import pathlib
from typing import Any, List

import pytest

import libsamba as samba

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.evaluator import simple_evaluate  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

from libsamba.lm_eval import SambaLM  # noqa: E402


def requests(kind: str, arguments: List[Any]) -> List[Instance]:
    return [Instance(kind, {}, a, i) for i, a in enumerate(arguments)]


def test_likelihoods_share_prefixes(model: samba.Model) -> None:
    shots = "The sun is hot. The ice is cold. " * 20
    pairs = [(shots + q, c) for q in ("The fire is", "The snow is", "The fire is") for c in (" hot", " cold")]
    lm = SambaLM(model)
    got = lm.loglikelihood(requests("loglikelihood", pairs), disable_tqdm=True)
    for (context, choice), (total, greedy) in zip(pairs, got):
        tokens = model.tokenize(context + choice)
        n = len(tokens) - len(model.tokenize(context))
        with model.session() as s:
            scores = s.score(tokens)
            assert total == pytest.approx(sum(scores[-n:]), abs=1e-5)
        with model.session() as s:
            s.feed(model.tokenize(context))
            best = [p.token for p in s.generate(max_tokens=n, ignore_eos=True)][:n]
            assert greedy == (best == tokens[-n:])
    # the examples once, the three questions' own words a few times
    assert lm.n_evaluated < len(model.tokenize(shots)) + 40


def test_long_continuations(model: samba.Model) -> None:
    text = " and the old man said that it was so" * 30
    ((total, _),) = SambaLM(model).loglikelihood(requests("loglikelihood", [("So", text)]), disable_tqdm=True)
    n = len(model.tokenize("So"))
    with model.session() as s:
        assert total == pytest.approx(sum(s.score(model.tokenize("So" + text))[n:]), abs=1e-4)


def test_rolling_is_one_pass(model: samba.Model) -> None:
    text = "It was a dark night. " * 300
    (total,) = SambaLM(model).loglikelihood_rolling(requests("loglikelihood_rolling", [(text,)]))
    bos = model.info.bos_token
    assert bos is not None
    with model.session() as s:
        tokens = [bos, *model.tokenize(text, add_special=False)]
        assert total == pytest.approx(sum(s.score(tokens)[1:]), abs=1e-3)


def test_generate_until(model: samba.Model) -> None:
    lm = SambaLM(model)
    how = {"until": ["."], "max_gen_toks": 20, "do_sample": False}
    asked = [("It was a dark night, and", how), ("It was a dark night, but", how), ("", how)]
    got = lm.generate_until(requests("generate_until", asked))
    for (prompt, _), text in zip(asked[:2], got):
        with model.session() as s:
            assert text == "".join(s.generate(prompt, max_tokens=20, stop="."))
    assert len(got) == 3


def test_end_to_end(model: samba.Model, tmp_path: pathlib.Path) -> None:
    docs = [
        {"q": "The sun is", "choices": [" hot", " seventeen"], "gold": 0},
        {"q": "It was a dark", "choices": [" plumber of", " night"], "gold": 1},
        {"q": "He opened the", "choices": [" door", " of of"], "gold": 0},
    ]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(d) + "\n" for d in docs))
    (tmp_path / "samba_local.yaml").write_text(
        f"""
task: samba_local
dataset_path: json
dataset_kwargs:
  data_files:
    test: {tmp_path / "docs.jsonl"}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{q}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: gold
target_delimiter: ""
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
    )
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    results = simple_evaluate(
        model=SambaLM(model), tasks=["samba_local"], task_manager=manager, bootstrap_iters=0
    )
    assert results["results"]["samba_local"]["acc,none"] == 1.0
