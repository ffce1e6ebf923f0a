"""A BERT tokenizer made of a vocabulary: of a published one, or of words that sites have counted."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

from transformers import BertTokenizer, DistilBertTokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ASCII = string.digits + string.ascii_lowercase + string.punctuation


def make_tokenizer(vocabulary: Sequence[str], architecture: str) -> Any:
    """Build an uncased WordPiece tokenizer; the same vocabulary gives the same one everywhere.

    Parameters
    ----------
    vocabulary : sequence of str
        Words, and pieces that begin with ``##``; `completed` says what is added.
    architecture : str
        ``bert`` or ``distilbert``.

    Returns
    -------
    transformers.PreTrainedTokenizerBase
    """
    kind = BertTokenizer if architecture == "bert" else DistilBertTokenizer
    plain = kind(vocab={token: index for index, token in enumerate(SPECIAL)})
    return kind(vocab={piece: index for index, piece in enumerate(completed(vocabulary, plain))})


def completed(vocabulary: Sequence[str], tokenizer: Any) -> list[str]:
    """Add to a vocabulary what a tokenizer cannot do without, so that every word of its letters can be spelt.

    Entries keep their order. Special tokens that are missing go before them; after them go the parts of entries that the
    tokenizer would split or write otherwise ("didn'" is "didn" and "'"), then single characters, first and as continuations.
    """
    backend = tokenizer.backend_tokenizer
    words = [entry for entry in vocabulary if not entry.startswith("##") and not _is_special(entry)]
    parts = [
        part
        for word in words
        for part, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(word))
    ]
    letters = sorted({*ASCII, *"".join(parts)})
    missing = [token for token in SPECIAL if token not in set(vocabulary)]
    every = [*missing, *vocabulary, *parts, *letters, *(f"##{letter}" for letter in letters)]
    return list(dict.fromkeys(every))


def _is_special(entry: str) -> bool:
    return len(entry) > 2 and entry.startswith("[") and entry.endswith("]")
