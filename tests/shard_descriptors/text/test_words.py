"""Vocabularies from federated counts: no text leaves a site, only words and how often they stand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from federation.errors import InputError
from shard_descriptors.text.words import count_words, joined, merge_counts, read_counts, words


@pytest.mark.parametrize(
    ("text", "tokens", "again"),
    [
        ("I don't know, Tom!", ["i", "don'", "t", "know", ",", "tom", "!"], "i don't know, tom!"),
        (
            "L’homme a dit : « Oui »",
            ["l'", "homme", "a", "dit", ":", "«", "oui", "»"],
            "l'homme a dit: «oui»",
        ),
        ("cafe\u0301", ["café"], "café"),
        ("", [], ""),
    ],
)
def test_a_text_becomes_words_and_a_text_again(text: str, tokens: list[str], again: str) -> None:
    assert words(text) == tokens
    assert joined(tokens) == again
    assert words(again) == tokens


def test_rare_words_stay_at_their_site() -> None:
    samples = [{"text": "the cat and the dog"}, {"text": "the cat, Smith"}]
    assert count_words(samples, "text", minimum=2) == {"the": 3, "cat": 2}
    with pytest.raises(InputError, match=r"--field source: .* they have text"):
        count_words(samples, "source")


def test_the_vocabulary_is_that_of_the_pooled_counts_whatever_the_order_of_the_sites() -> None:
    north, south = {"the": 3, "cat": 2}, {"the": 1, "dog": 2, "cat": 1}
    assert merge_counts([north, south], size=10) == merge_counts([south, north], 10) == ["the", "cat", "dog"]
    assert merge_counts([north, south], size=10, minimum_sites=2) == ["the", "cat"]
    assert merge_counts([north, south], size=1) == ["the"]


@pytest.mark.parametrize(
    "content", ["[]", '{"the": "3"}', '{"the": 0}', '{"two words": 1}', "{", '{"the": true}']
)
def test_counts_that_no_site_has_written_are_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "counts.json"
    file.write_text(content)
    with pytest.raises(InputError, match=r"counts\.json"):
        read_counts(file)


def test_counts_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "counts.json"
    file.write_text(json.dumps({"café": 2, "l'": 1}, ensure_ascii=False), "utf-8")
    assert read_counts(file) == {"café": 2, "l'": 1}
