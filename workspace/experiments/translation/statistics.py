"""The sums that translations are measured by, and what is derived from them: loss, perplexity and BLEU. Needs numpy only.

BLEU is no average over sentences: it is made of how many n-grams of all hypotheses are in their references, and of all lengths
(Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation", section 2.3). Those counts are sums, so
the BLEU of a federation is exactly that of its pooled validation sentences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from federation.statistics import Kind, Layout, Statistics

Array = npt.NDArray[Any]
ORDER = 4  # n-grams up to this length


def translation_sums(
    *,
    samples: int,
    tokens: int,
    loss_sum: float,
    matched: Sequence[int] = (0,) * ORDER,
    ngrams: Sequence[int] = (0,) * ORDER,
    hypothesis_length: int = 0,
    reference_length: int = 0,
) -> dict[str, Array]:
    """Sum up the outcome of a batch.

    Parameters
    ----------
    samples, tokens : int
        Sentences, and target tokens with their ends.
    loss_sum : float
        The negative log-likelihood (natural logarithm) of all tokens; while training, with the labels smoothed as they are.
    matched, ngrams : sequence of int, length 4
        N-grams of the hypotheses that their reference has as well (clipped), and all of them, for n from 1.
    hypothesis_length, reference_length : int
        In BLEU's tokens. Both are 0, as the n-grams are, where nothing was decoded.
    """
    return {
        "samples": np.asarray(samples, np.int64),
        "tokens": np.asarray(tokens, np.int64),
        "loss_sum": np.asarray(loss_sum, np.float64),
        "matched": np.asarray(matched, np.int64),
        "ngrams": np.asarray(ngrams, np.int64),
        "hypothesis_length": np.asarray(hypothesis_length, np.int64),
        "reference_length": np.asarray(reference_length, np.int64),
    }


def bleu(statistics: Statistics) -> float:
    """Return corpus BLEU, from 0 to 100, as sacrebleu computes it from the same counts.

    An order without any match counts half of one match, the next such order a quarter, and so on: sacrebleu's default, the
    smoothing ``exp`` (Chen & Cherry 2014, method 3).
    """
    matched, ngrams = statistics["matched"].tolist(), statistics["ngrams"].tolist()
    hypothesis, reference = int(statistics["hypothesis_length"]), int(statistics["reference_length"])
    if not any(matched) or not all(ngrams):
        return 0.0
    logarithms, smoothed = 0.0, 1.0
    for right, all_of_them in zip(matched, ngrams, strict=True):
        if right == 0:
            smoothed /= 2
        logarithms += math.log((right or smoothed) / all_of_them)
    brevity = min(0.0, 1 - reference / hypothesis)
    return 100 * math.exp(logarithms / ORDER + brevity)


def _layout(n_classes: int) -> Layout:
    return {
        "samples": ("int64", ()),
        "tokens": ("int64", ()),
        "loss_sum": ("float64", ()),
        "matched": ("int64", (ORDER,)),
        "ngrams": ("int64", (ORDER,)),
        "hypothesis_length": ("int64", ()),
        "reference_length": ("int64", ()),
    }


def _derive(statistics: Statistics, classes: Sequence[str]) -> dict[str, float]:
    loss = float(statistics["loss_sum"]) / int(statistics["tokens"])
    # The perplexity of a model that has diverged is no number to report: exp overflows beyond 709.
    metrics = {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}
    # Nothing is decoded while training.
    return metrics | ({"bleu": bleu(statistics)} if int(statistics["reference_length"]) else {})


def _contradiction(statistics: Statistics) -> str | None:
    if int(statistics["tokens"]) < int(statistics["samples"]):
        return "each sample has at least one token"
    if np.any(statistics["matched"] > statistics["ngrams"]):
        return "no more n-grams can match than there are"
    if int(statistics["ngrams"][0]) != int(statistics["hypothesis_length"]):
        return "the hypotheses have as many 1-grams as tokens"
    if np.any(np.diff(statistics["ngrams"]) > 0) or np.any(np.diff(statistics["matched"]) > 0):
        return "there can be no more n-grams than shorter ones"
    return None


TRANSLATION = Kind(
    layout=_layout,
    derive=_derive,
    names=lambda classes: ("bleu", "loss", "perplexity"),
    contradiction=_contradiction,
    needs_classes=False,
)
