"""What translations are measured by: sums whose BLEU is sacrebleu's own, however they were added up."""

from __future__ import annotations

import math
import subprocess
import sys
from functools import reduce
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics import BLEU

from federation.errors import InputError
from federation.statistics import add, check, derive, kind_named, nothing
from workspace.experiments.translation.statistics import translation_sums

WORDS = ["le", "chat", "chien", "voit", "une", "clé", ",", "."]


def texts(count: int, seed: int) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, generator.integers(1, 9))) for _ in range(count)]


def counted(hypotheses: list[str], references: list[str], loss: float = 1.0) -> dict[str, Any]:
    score = BLEU(lowercase=True).corpus_score(hypotheses, [references])
    return translation_sums(
        samples=len(references),
        tokens=2 * len(references),
        loss_sum=loss * 2 * len(references),
        matched=score.counts,
        ngrams=score.totals,
        hypothesis_length=score.sys_len,
        reference_length=score.ref_len,
    )


@pytest.mark.parametrize("seed", range(5))
def test_bleu_of_the_sites_sums_is_sacrebleus_of_the_pooled_corpus(seed: int) -> None:
    hypotheses, references = texts(60, seed), texts(60, seed + 100)
    references[:20] = hypotheses[:20]
    sites = [counted(hypotheses[i::3], references[i::3]) for i in range(3)]
    pooled = BLEU(lowercase=True).corpus_score(hypotheses, [references]).score
    assert derive("translation", reduce(add, sites), [])["bleu"] == pytest.approx(pooled, abs=1e-9)


@pytest.mark.parametrize(
    ("hypothesis", "reference"),
    [
        ("le chat voit une clé .", "le chien mange un os ."),  # no match beyond single words: smoothed
        ("le chat .", "le chat ."),  # too short for 4-grams
        ("le chien voit", "le chat voit une clé ,"),  # shorter than its reference
        ("bonjour", "le chat voit une clé"),  # nothing right
        ("", "le chat"),
        ("le chat voit une clé . le chat", "le chat voit une clé ."),
    ],
)
def test_bleu_of_hard_cases_is_sacrebleus(hypothesis: str, reference: str) -> None:
    expected = BLEU(lowercase=True).corpus_score([hypothesis], [[reference]]).score
    assert derive("translation", counted([hypothesis], [reference]), [])["bleu"] == pytest.approx(expected)


def test_loss_is_per_token_and_bleu_is_left_out_where_nothing_was_decoded() -> None:
    trained = translation_sums(samples=2, tokens=10, loss_sum=20.0)
    assert derive("translation", trained, []) == {"loss": 2.0, "perplexity": pytest.approx(math.exp(2.0))}
    assert derive("translation", counted(["le"], ["le chat"], loss=1e6), [])["perplexity"] == math.exp(700)


def test_a_site_without_samples_adds_nothing() -> None:
    sums = counted(texts(5, 1), texts(5, 2))
    both = add(sums, nothing("translation", 0))
    assert derive("translation", both, []) == derive("translation", sums, [])
    with pytest.raises(InputError, match="zero samples"):
        derive("translation", nothing("translation", 0), [])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"matched": [9, 0, 0, 0]}, "no more n-grams can match"),
        ({"tokens": 1}, "at least one token"),
        ({"hypothesis_length": 3}, "as many 1-grams"),
        ({"ngrams": [4, 5, 0, 0]}, "no more n-grams than shorter"),
        ({"loss_sum": float("nan")}, "finite"),
        ({"matched": [-1, 0, 0, 0]}, "at least 0"),
    ],
)
def test_sums_that_no_honest_site_can_send_are_refused(changes: dict[str, Any], reason: str) -> None:
    sums = translation_sums(
        samples=2, tokens=4, loss_sum=1.0, matched=[1, 0, 0, 0], ngrams=[4, 2, 0, 0], hypothesis_length=4
    )
    check("translation", sums, 0)
    changed = {name: np.asarray(value, sums[name].dtype) for name, value in changes.items()}
    with pytest.raises(InputError, match=reason):
        check("translation", sums | changed, 0)


def test_every_metric_that_is_derived_may_be_chosen_by() -> None:
    derived = derive("translation", counted(texts(5, 1), texts(5, 2)), [])
    assert sorted(derived) == sorted(kind_named("translation").names([]))


def test_a_director_derives_it_without_torch_and_sacrebleu() -> None:
    code = (
        "import sys; from federation.statistics import kind_named; kind_named('translation'); "
        "sys.exit(bool({'torch', 'transformers', 'sacrebleu'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
