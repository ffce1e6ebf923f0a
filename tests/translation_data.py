"""Sentence pairs for tests: a little English and its French, made by a grammar."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

SUBJECTS = {"I": "Je", "You": "Tu", "He": "Il", "We": "Nous"}
VERBS = {
    "see": ("vois", "vois", "voit", "voyons"),
    "want": ("veux", "veux", "veut", "voulons"),
    "take": ("prends", "prends", "prend", "prenons"),
}
OBJECTS = {
    "the cat": "le chat",
    "the dog": "le chien",
    "a book": "un livre",
    "the key": "la clé",
    "a pen": "un stylo",
    "the water": "l'eau",
}
ENDS = {".": ".", "!": " !", " now.": " maintenant.", " here.": " ici."}


def sentence_pairs() -> list[tuple[str, str]]:
    """Return 288 pairs of up to six words."""
    pairs = []
    for (person, (subject, sujet)), verb, (thing, chose), (end, fin) in product(
        enumerate(SUBJECTS.items()), VERBS, OBJECTS.items(), ENDS.items()
    ):
        form = verb + ("s" if subject == "He" else "")
        pairs.append((f"{subject} {form} {thing}{end}", f"{sujet} {VERBS[verb][person]} {chose}{fin}"))
    return pairs


def write_pairs(file: Path) -> Path:
    """Write them as Tatoeba's files are: with a third column that credits the authors."""
    lines = (f"{source}\t{target}\tCC-BY 2.0 (France)\n" for source, target in sentence_pairs())
    file.write_text("".join(lines), "utf-8")
    return file


def pairs_entry(file: Path, rank: int, worldsize: int, **settings: Any) -> dict[str, Any]:
    """A shard descriptor over the file, as configs and federation files have it."""
    base = {
        "root": str(file),
        "validation_share": 0.1,
        "test_share": 0.15,
        "rank": rank,
        "worldsize": worldsize,
        "seed": 1,
    }
    return {"template": "shard_descriptors.text.translation.TranslationShard", "settings": base | settings}
