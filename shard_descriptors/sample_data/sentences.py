"""Labelled sentences: what people might say of films, of food and of phones, a file for each."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from random import Random

COUNT = 200
_THINGS = {
    "films": ["film", "movie", "plot", "story", "music", "acting"],
    "food": ["food", "soup", "pizza", "service", "meal", "place"],
    "phones": ["phone", "battery", "screen", "case", "sound", "headset"],
}
_BAD = ["bad", "awful", "poor", "terrible", "horrible", "boring", "slow"]
_GOOD = ["good", "great", "lovely", "excellent", "wonderful", "amazing", "nice"]
_PLAIN = ["The {0} is {1}.", "The {0} was really {1}!", "This {0} is very {1}.", "I think the {0} was {1}."]
_DENIED = "The {0} is not {1}."  # says the contrary of its word


def write_sentences(folder: Path) -> str:
    """Write ``<source>.tsv`` for each of three sources, lines of ``sentence<TAB>0 or 1``; return what was made."""
    folder.mkdir(parents=True)
    for source, things in _THINGS.items():
        lines = [
            f"{form.format(thing, word)}\t{1 - label if form == _DENIED else label}\n"
            for form, thing, (label, words) in product([*_PLAIN, _DENIED], things, enumerate([_BAD, _GOOD]))
            for word in words
        ]
        (folder / f"{source}.tsv").write_text("".join(Random(source).sample(lines, COUNT)), "utf-8")
    return f"{len(_THINGS) * COUNT} sentences of {', '.join(_THINGS)}, good or bad"
