"""The attention network and its decoding: the published equations, and no influence of padding or batches."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from workspace.experiments.translation.attention_seq2seq import AttentionSeq2Seq, AttentionSeq2SeqConfig
from workspace.experiments.translation.decoding import beam_search, decode, nucleus, top_k
from workspace.experiments.translation.vocabulary import BOS, EOS, PAD, UNKNOWN

KINDS = ["additive", "dot_product"]


def small(attention: str = "additive", target: int = 12, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = AttentionSeq2SeqConfig(
        source_vocabulary_size=15,
        target_vocabulary_size=target,
        attention=attention,
        embedding_size=8,
        hidden_size=10,
        dropout=0.3,
    )
    model: Any = AttentionSeq2Seq(config).eval()
    with torch.no_grad():
        # Far from even, so that decoding has something to choose.
        model.target_embedding.weight.mul_(6)
    return model


def sources(*rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.full((len(rows), max(map(len, rows))), PAD)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    return ids, (ids != PAD).long()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_attention_is_that_of_the_papers(kind: str) -> None:
    model = small(kind)
    ids, mask = sources([4, 5, 6, EOS], [7, EOS])
    encoded, state = model.encode(ids, mask)
    context, weights = model.attention(state, encoded)
    query, keys = state @ model.attention.query.weight.T, encoded.states @ model.attention.key.weight.T
    if kind == "additive":
        energies = torch.tanh(query[:, None] + keys) @ model.attention.score.weight[0]
        energies[1, 2:] = -math.inf
        expected = energies.exp() / energies.exp().sum(1, keepdim=True)
        expected_context = torch.einsum("bj,bjd->bd", expected, encoded.states)
        torch.testing.assert_close(weights, expected)
    else:
        expected_context = scaled_dot_product_attention(
            query[:, None], keys, encoded.states, attn_mask=mask[:, None].bool()
        )[:, 0]
    torch.testing.assert_close(context, expected_context)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert weights[1, 2:].tolist() == [0, 0]


def test_the_two_kinds_differ_in_the_score_alone() -> None:
    additive, dot_product = (
        {name: tuple(value.shape) for name, value in small(kind).state_dict().items()} for kind in KINDS
    )
    assert additive.items() - dot_product.items() == {("attention.score.weight", (1, 10))}
    assert dot_product.items() <= additive.items()


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_teacher_forcing_scores_what_step_by_step_decoding_does(kind: str) -> None:
    model = small(kind)
    ids, mask = sources([4, 5, 6, EOS], [7, 8, EOS])
    targets = torch.tensor([[BOS, 5, 6], [BOS, 7, 4]])
    whole = model(ids, mask, targets)
    encoded, state = model.encode(ids, mask)
    for i in range(3):
        logits, state, weights = model.step(targets[:, i], state, encoded)
        torch.testing.assert_close(logits, whole.logits[:, i])
        torch.testing.assert_close(weights, whole.attentions[:, i])


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_padding_changes_nothing(kind: str) -> None:
    model = small(kind)
    together = decode(model, *sources([4, 5, EOS], [6, 7, 8, 9, 10, EOS]), max_length=6)
    for row, one in zip(([4, 5, EOS], [6, 7, 8, 9, 10, EOS]), together, strict=True):
        alone = decode(model, *sources(row), max_length=6)[0]
        assert (alone.tokens, alone.ended) == (one.tokens, one.ended)
        assert alone.log_probability == pytest.approx(one.log_probability, abs=1e-5)
        torch.testing.assert_close(alone.attention, one.attention[:, : len(row)])
        assert len(alone.attention) == len(alone.tokens) + alone.ended


def test_a_saved_model_is_loaded_by_transformers(tmp_path: Path) -> None:
    model = small("dot_product")
    model.save_pretrained(tmp_path)
    loaded: Any = AttentionSeq2Seq.from_pretrained(tmp_path)
    assert loaded.config.attention == "dot_product"
    assert not loaded.training
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=0, atol=0)


@torch.no_grad()
def log_probability(model: Any, source: list[int], tokens: tuple[int, ...]) -> float:
    ids, mask = sources(source)
    logits = model(ids, mask, torch.tensor([[BOS, *tokens]])).logits[0]
    logits[:, [PAD, BOS, UNKNOWN]] = -math.inf
    return sum(float(row.log_softmax(-1)[token]) for row, token in zip(logits, (*tokens, EOS), strict=True))


@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_a_wide_beam_finds_the_likeliest_translation_per_token(seed: int) -> None:
    model, source = small(target=8, seed=seed), [4, 5, EOS]
    found = beam_search(model, *sources(source), max_length=3, beam_size=64)
    every = [row for n in range(4) for row in itertools.product(range(4, 8), repeat=n)]
    best = max(every, key=lambda row: log_probability(model, source, row) / (len(row) + 1))
    assert tuple(found.tokens) == best
    assert found.log_probability == pytest.approx(log_probability(model, source, best), abs=1e-4)
    assert found.attention.shape == (len(best) + 1, 3)


@torch.no_grad()
def test_sampling_from_one_word_is_greedy_and_the_seed_decides_the_rest() -> None:
    model, source = small(), sources([4, 5, 6, EOS])
    greedy = decode(model, *source, max_length=8)[0].tokens
    assert decode(model, *source, 8, top_k(1, 1.0, generator()))[0].tokens == greedy
    assert decode(model, *source, 8, nucleus(1e-6, 1.0, generator()))[0].tokens == greedy
    for choose in (
        lambda seed: top_k(5, 2.0, generator(seed)),
        lambda seed: nucleus(0.95, 2.0, generator(seed)),
    ):
        drawn = [tuple(decode(model, *source, 8, choose(seed))[0].tokens) for seed in (1, 1, 2, 3, 4, 5)]
        assert drawn[0] == drawn[1]
        assert len(set(drawn)) > 1


def test_only_the_likeliest_words_are_drawn_from() -> None:
    probabilities = torch.tensor([0.5, 0.25, 0.15, 0.07, 0.03])
    many = probabilities.log().repeat(2000, 1)
    for choose, kept in (
        (top_k(2, 1.0, generator()), 2),
        (nucleus(0.8, 1.0, generator()), 3),  # 0.5 and 0.25 have less than 0.8
        (nucleus(0.74, 1.0, generator()), 2),
        (nucleus(1.0, 1.0, generator()), 5),
    ):
        counts = torch.bincount(choose(many), minlength=5) / 2000
        expected = probabilities.clone()
        expected[kept:] = 0
        torch.testing.assert_close(counts, expected / expected.sum(), atol=0.04, rtol=0)


@torch.no_grad()
def test_neither_marks_nor_more_than_the_longest_are_written() -> None:
    model, source = small(seed=3), sources([4, 5, 6, EOS])
    with torch.no_grad():
        model.output_bias[[PAD, BOS, UNKNOWN]] = 50
        model.output_bias[EOS] = -50
    for written in (
        decode(model, *source, 5)[0],
        decode(model, *source, 5, nucleus(1.0, 1.0, generator()))[0],
    ):
        assert (len(written.tokens), written.ended) == (5, False)
        assert min(written.tokens) > UNKNOWN
        assert len(written.attention) == 5
    assert min(beam_search(model, *source, 5, 3).tokens, default=9) > UNKNOWN
