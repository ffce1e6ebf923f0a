"""Words and their numbers, and the marks that stand before them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from federation.errors import InputError
from federation.text_files import read_lines

PAD, BOS, EOS, UNKNOWN = range(4)
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
MOST_BYTES = 64 << 20


class Vocabulary:
    """The words of a language; a word's number is its place, after the marks.

    Parameters
    ----------
    words : sequence of str
        Distinct, without the marks.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = (*SPECIALS, *words)
        self._numbers = {word: number for number, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def numbers(self, words: Sequence[str]) -> list[int]:
        """Return the number of each word; those that it lacks are all ``<unk>``. Ends with ``<eos>``."""
        return [*(self._numbers.get(word, UNKNOWN) for word in words), EOS]

    def write(self, file: Path) -> None:
        """Write one word a line, without the marks."""
        file.write_text("\n".join(self.words[len(SPECIALS) :]) + "\n", "utf-8")


def read_vocabulary(file: Path, size: int) -> Vocabulary:
    """Read what `Vocabulary.write` wrote.

    Raises
    ------
    InputError
        If it cannot be read, or is not of this size (with the marks).
    """
    words = read_lines(file, MOST_BYTES)
    vocabulary = Vocabulary(words)
    if len(vocabulary) != size or len(set(vocabulary.words)) != size:
        raise InputError(f"{file}: has {len(words)} words, the model was made for {size - len(SPECIALS)}")
    return vocabulary
