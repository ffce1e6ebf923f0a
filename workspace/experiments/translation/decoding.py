"""Writing a translation: greedy, by beam search, or by sampling from the likeliest words.

Functions over `AttentionSeq2Seq.encode` and `AttentionSeq2Seq.step`; nothing here is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from workspace.experiments.translation.attention_seq2seq import AttentionSeq2Seq, Encoded
from workspace.experiments.translation.vocabulary import BOS, EOS, PAD, UNKNOWN

Choose = Callable[[torch.Tensor], torch.Tensor]  # log-probabilities [batch, vocabulary] -> tokens [batch]


@dataclass(frozen=True)
class Decoded:
    """One translation.

    Parameters
    ----------
    tokens : list of int
        Without the mark of its end.
    ended : bool
        Whether the model ended it; otherwise it was cut at the longest length.
    log_probability : float
        Of tokens and end, under the model (natural logarithm).
    attention : torch.Tensor, shape [steps, source]
        The weights of each step; the last one is that of the end, if it ended.
    """

    tokens: list[int]
    ended: bool
    log_probability: float
    attention: torch.Tensor


def greedy(log_probabilities: torch.Tensor) -> torch.Tensor:
    """Choose the likeliest token."""
    return log_probabilities.argmax(-1)


def top_k(k: int, temperature: float, generator: torch.Generator) -> Choose:
    """Draw from the k likeliest tokens (Fan et al. 2018, "Hierarchical Neural Story Generation", section 5.1)."""

    def choose(log_probabilities: torch.Tensor) -> torch.Tensor:
        values, tokens = (log_probabilities / temperature).topk(min(k, log_probabilities.shape[-1]))
        return tokens.gather(1, _drawn(values.softmax(-1), generator)).squeeze(1)

    return choose


def nucleus(p: float, temperature: float, generator: torch.Generator) -> Choose:
    """Draw from the smallest set of tokens that together have at least probability p.

    Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", arXiv:1904.09751, eqs. 2 and 3.
    """

    def choose(log_probabilities: torch.Tensor) -> torch.Tensor:
        values, tokens = (log_probabilities / temperature).softmax(-1).sort(-1, descending=True)
        before = values.cumsum(-1) - values
        kept = values.masked_fill(before >= p, 0)
        return tokens.gather(1, _drawn(kept, generator)).squeeze(1)

    return choose


def decode(
    model: AttentionSeq2Seq,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    max_length: int,
    choose: Choose = greedy,
) -> list[Decoded]:
    """Translate a batch token by token.

    Parameters
    ----------
    model
        In evaluation mode.
    input_ids, attention_mask : torch.Tensor of int64, shape [batch, source]
        As for `AttentionSeq2Seq.encode`.
    max_length
        The most tokens, without the end.
    choose
        `greedy`, or what `top_k` and `nucleus` return.
    """
    encoded, state = model.encode(input_ids, attention_mask)
    tokens = torch.full_like(input_ids[:, 0], BOS)
    ended = torch.zeros_like(tokens, dtype=torch.bool)
    chosen, scores, attentions = [], [], []
    for step in range(max_length + 1):
        logits, state, weights = model.step(tokens, state, encoded)
        log_probabilities = _log_probabilities(logits)
        tokens = choose(log_probabilities)
        if step == max_length:
            tokens = torch.full_like(tokens, EOS).where(tokens == EOS, torch.full_like(tokens, PAD))
        tokens = tokens.masked_fill(ended, PAD)
        chosen.append(tokens)
        scores.append(
            log_probabilities.gather(1, tokens.unsqueeze(1)).squeeze(1).masked_fill(tokens == PAD, 0)
        )
        attentions.append(weights)
        ended = ended | (tokens == EOS)
        if bool(ended.all()):
            break
    rows = torch.stack(chosen, 1).tolist()
    total, maps = torch.stack(scores, 1).sum(1).tolist(), torch.stack(attentions, 1).cpu()
    return [_decoded(row, total[i], maps[i]) for i, row in enumerate(rows)]


def beam_search(
    model: AttentionSeq2Seq,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    max_length: int,
    beam_size: int,
) -> Decoded:
    """Translate one sentence, keeping the likeliest beginnings of each length.

    Of all finished translations the one with the highest log-probability per token, its end included, is taken: without
    the division short ones would win ([B] in `attention_seq2seq`, section 5.2.2, beam search as Sutskever et al. 2014).

    Parameters
    ----------
    input_ids, attention_mask : torch.Tensor of int64, shape [1, source]
        Of one sentence.
    beam_size
        How many beginnings are kept.
    """
    encoded, state = model.encode(input_ids, attention_mask)
    live: list[tuple[list[int], float, list[torch.Tensor]]] = [([], 0.0, [])]
    finished: list[Decoded] = []
    for step in range(max_length + 1):
        last = torch.tensor([row[-1] if row else BOS for row, _, _ in live], device=input_ids.device)
        wide = Encoded(*(part.expand(len(live), *part.shape[1:]) for part in encoded))
        logits, state, weights = model.step(last, state, wide)
        log_probabilities = _log_probabilities(logits)
        # The end of each beginning is always looked at; it is no beginning of anything longer.
        for i, (row, score, maps) in enumerate(live):
            total = score + float(log_probabilities[i, EOS])
            finished.append(Decoded(row, True, total, torch.stack([*maps, weights[i]]).cpu()))
        if step == max_length:
            break
        log_probabilities[:, EOS] = -math.inf
        scores = log_probabilities + torch.tensor([[score] for _, score, _ in live]).to(log_probabilities)
        best = scores.flatten().topk(min(beam_size, scores.shape[1] - 4))
        parents = best.indices // scores.shape[1]
        words = (best.indices % scores.shape[1]).tolist()
        state = state[parents]
        live = [
            ([*live[parent][0], word], score, [*live[parent][2], weights[parent]])
            for parent, word, score in zip(parents.tolist(), words, best.values.tolist(), strict=True)
        ]
        # What is still open can only lose probability, and gains at most by being divided by the longest length.
        if max(score for _, score, _ in live) / (max_length + 1) < max(map(_per_token, finished)):
            break
    return max(finished, key=_per_token)


def _per_token(one: Decoded) -> float:
    return one.log_probability / len(one.attention)


def _log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Return float32 log-probabilities of what may be written: words and the end."""
    logits = logits.float().clone()
    logits[:, [PAD, BOS, UNKNOWN]] = -math.inf
    return logits.log_softmax(-1)


def _drawn(probabilities: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    # On the CPU, so that a seed draws the same on every device.
    drawn = torch.multinomial(probabilities.cpu(), 1, generator=generator)
    return drawn.to(probabilities.device)


def _decoded(row: list[int], log_probability: float, attention: torch.Tensor) -> Decoded:
    ended = EOS in row
    tokens = row[: row.index(EOS)] if ended else [token for token in row if token != PAD]
    return Decoded(tokens, ended, log_probability, attention[: len(tokens) + ended])
