"""Sentence pairs: a little English and its French, made by a grammar."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from random import Random

# A subject in both languages, and which form of an English and of a French verb follows it.
_SUBJECTS = [
    ("I", "Je", 0, 0),
    ("You", "Tu", 0, 1),
    ("He", "Il", 1, 2),
    ("She", "Elle", 1, 2),
    ("Tom", "Tom", 1, 2),
    ("We", "Nous", 0, 3),
]
_VERBS = [
    (("see", "sees"), ("vois", "vois", "voit", "voyons")),
    (("want", "wants"), ("veux", "veux", "veut", "voulons")),
    (("take", "takes"), ("prends", "prends", "prend", "prenons")),
]
_OBJECTS = {
    "the cat": "le chat",
    "the dog": "le chien",
    "a book": "un livre",
    "the key": "la clé",
    "the car": "la voiture",
    "the water": "l'eau",
}
_BEING = {"I": "am", "You": "are", "We": "are"}
_HAVING = ("ai", "as", "a", "avons")
_STATES = {"cold": "froid", "hungry": "faim", "thirsty": "soif", "afraid": "peur"}
_ENDS = {".": ".", "!": " !", " now.": " maintenant.", " again.": " encore."}


def write_pairs(file: Path) -> str:
    """Write lines of ``english<TAB>french``, as the files of Tatoeba are; return what was made."""
    pairs = [*_deeds(), *_states()]
    Random(0).shuffle(pairs)
    file.write_text("".join(f"{english}\t{french}\n" for english, french in pairs), "utf-8")
    return f"{len(pairs)} English sentences and their French"


def _deeds() -> list[tuple[str, str]]:
    return [
        (f"{subject} {verb[one]} {thing}{end}", f"{sujet} {verbe[un]} {chose}{fin}")
        for (subject, sujet, one, un), (verb, verbe), (thing, chose), (end, fin) in product(
            _SUBJECTS, _VERBS, _OBJECTS.items(), _ENDS.items()
        )
    ]


def _states() -> list[tuple[str, str]]:
    """Say who is cold and who is not: French has it, where English is it."""
    pairs = []
    for (subject, sujet, _, un), (state, etat), (end, fin) in product(
        _SUBJECTS, _STATES.items(), _ENDS.items()
    ):
        has = f"J'{_HAVING[un]}" if sujet == "Je" else f"{sujet} {_HAVING[un]}"
        be = _BEING.get(subject, "is")
        pairs.append((f"{subject} {be} {state}{end}", f"{has} {etat}{fin}"))
        pairs.append((f"{subject} {be} not {state}{end}", f"{sujet} n'{_HAVING[un]} pas {etat}{fin}"))
    return pairs
