"""Sentences for tests, in files as users have them, and a small plan to learn them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np

from tests.deployment import TINY_PLAN

CLASSES = ["negative", "positive"]
SOURCES = ("films", "food", "phones")
THINGS = {"films": ["film", "plot"], "food": ["soup", "waiter"], "phones": ["phone", "battery"]}
OPINIONS = [["bad", "awful", "dull", "poor"], ["good", "great", "lovely", "fine"]]
FORMS = ["The {} is {}.", "A {} that is really {}!", "I found the {} {}", "What a {}, so {}."]
SHARD = "shard_descriptors.text.sentiment.SentimentShard"
VOCABULARY = [
    *(word for words in (*THINGS.values(), *OPINIONS) for word in words),
    *("the", "is", "a", "that", "really", "i", "found", "what", "so", "not"),
]


def sentences(source: str, count: int, seed: int = 0) -> list[tuple[str, int]]:
    """Distinct sentences, half of them of each class."""
    generator = np.random.default_rng([seed, SOURCES.index(source)])
    made: dict[str, int] = {}
    while len(made) < count:
        label = len(made) % 2
        form, thing = generator.choice(FORMS), generator.choice(THINGS[source])
        text = form.format(thing, generator.choice(OPINIONS[label]))
        made.setdefault(text if text not in made else f"{text} {len(made)}", label)
    return list(made.items())


def make_sentences(folder: Path, count: int = 40) -> Path:
    """Write a folder of three files of ``sentence<TAB>label``."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        lines = [f"{text}\t{label}\n" for text, label in sentences(source, count)]
        (folder / f"{source}.tsv").write_text("".join(lines), "utf-8")
    return folder


def shard_entry(root: Path, rank: int, worldsize: int, **settings: Any) -> dict[str, Any]:
    """A shard descriptor over a folder, as configs and federation files have it."""
    base = {"root": str(root), "partition": "stride", "rank": rank, "worldsize": worldsize, "seed": 1}
    return {"template": SHARD, "settings": base | settings}


def small_plan(**settings: Any) -> dict[str, Any]:
    """A plan over two envoys that trains in a second."""
    plan = copy.deepcopy(TINY_PLAN)
    plan["task_runner"]["settings"] = {
        "experiment": "sentiment",
        "learning_rate": 3e-3,
        "batch_size": 8,
        "word_dropout": 0.1,
        "vocabulary": VOCABULARY,
        "model": {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 32,
        },
        **settings,
    }
    plan["federation"]["settings"] |= {"dataset": "sentiment", "classes": CLASSES}
    return plan
