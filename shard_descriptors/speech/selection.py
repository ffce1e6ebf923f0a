"""From a corpus to the samples of the whole dataset: splits, classes, and what cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from statistics import mean

from federation.errors import InputError
from shard_descriptors.descriptor import SPLITS, SplitName
from shard_descriptors.drawing import draw
from shard_descriptors.skipped import skip
from shard_descriptors.speech.audio import UnreadableAudio, read_header
from shard_descriptors.speech.classes import BACKGROUND, SILENCE, UNKNOWN
from shard_descriptors.speech.clips import Clip
from shard_descriptors.speech.corpus import Corpus, Recording
from shard_descriptors.speech.settings import SpeechCommandsSettings
from shard_descriptors.speech.silence import cut_silence


def select(
    corpus: Corpus, classes: Sequence[str], settings: SpeechCommandsSettings
) -> tuple[dict[SplitName, list[Clip]], Counter[str]]:
    """Choose the samples of the whole dataset, which the shards then divide.

    Parameters
    ----------
    corpus : Corpus
        The recordings.
    classes : sequence of str
        In the order of the labels.
    settings : SpeechCommandsSettings
        How to split, how much silence and unknown, what to do about bad files.

    Returns
    -------
    dict of str to list of Clip
        The splits; words sorted by id, then silence. The same whatever order the file system lists.
    Counter of str
        What of the data set is left out, in words, and how many.

    Raises
    ------
    InputError
        A class without recordings, or too many unreadable files.
    """
    wanted = _wanted(corpus, classes, settings)
    side = _sides(corpus, wanted, settings)
    recordings, unreadable = _readable(corpus, wanted, settings)
    _check_classes(corpus, recordings, classes)
    words = [name for name in classes if name not in (SILENCE, UNKNOWN)]
    chosen: dict[SplitName, list[Clip]] = {}
    silence: dict[SplitName, int] = {}
    for split in SPLITS:
        here = [recording for recording in recordings if side(recording) == split]
        count = Counter(recording.word for recording in here)
        per_word = mean(count[word] for word in words) if words else 0.0
        chosen[split] = _label(here, classes, round(settings.unknown_share * per_word), settings.seed)
        silence[split] = 0 if count[SILENCE] else round(settings.silence_share * per_word)
    words_chosen = sum(map(len, chosen.values()))
    if SILENCE in classes:
        cut = cut_silence(corpus, silence, classes.index(SILENCE), settings)
        chosen = {split: chosen[split] + cut[split] for split in SPLITS}
    others = len(corpus.recordings) - len(wanted) + len(recordings) - words_chosen
    counts = {"recordings that cannot be used": unreadable, "recordings of other words": others}
    return chosen, corpus.left_out + Counter(counts)


def _label(recordings: Sequence[Recording], classes: Sequence[str], unknown: int, seed: int) -> list[Clip]:
    """Label recordings; of words that are no class, `unknown` many are drawn."""
    labels = {name: label for label, name in enumerate(classes)}
    others = [recording for recording in recordings if recording.word not in labels]
    drawn = {other.id for other in draw(others, unknown, lambda other: other.id, seed)}
    return [
        Clip(
            id=recording.id,
            label=labels[recording.word if recording.word in labels else UNKNOWN],
            speaker=recording.speaker,
            file=recording.file,
        )
        for recording in recordings
        if recording.word in labels or recording.id in drawn
    ]


def _sides(
    corpus: Corpus, wanted: Sequence[Recording], settings: SpeechCommandsSettings
) -> Callable[[Recording], SplitName]:
    """Decide the split of each recording; ``speaker`` looks at all words, so all classes split alike."""
    if settings.split == "published":
        return lambda recording: recording.published
    speakers = {recording.speaker for recording in corpus.recordings if recording.word != SILENCE}
    spoken = _drawn_sides(speakers, "speakers", corpus, settings)
    # Nobody speaks in them: they are split by the same shares for themselves.
    silences = {recording.id for recording in wanted if recording.word == SILENCE}
    silent = _drawn_sides(silences, f"recordings of {SILENCE}", corpus, settings) if silences else {}
    return lambda recording: silent[recording.id] if recording.word == SILENCE else spoken[recording.speaker]


def _drawn_sides(
    names: Collection[str], what: str, corpus: Corpus, settings: SpeechCommandsSettings
) -> dict[str, SplitName]:
    drawn = draw(sorted(names), len(names), str, settings.seed)
    test = _at_least_one(settings.test_share, len(drawn))
    validation = _at_least_one(settings.validation_share, len(drawn))
    if test + validation >= len(drawn):
        raise InputError(
            f"{corpus.name}: {len(drawn)} {what} are too few for split: speaker with test_share "
            f"{settings.test_share} and validation_share {settings.validation_share}"
        )
    sides: dict[str, SplitName] = dict.fromkeys(drawn, "train")
    sides.update(dict.fromkeys(drawn[:test], "test"))
    sides.update(dict.fromkeys(drawn[test : test + validation], "validation"))
    return sides


def _at_least_one(share: float, count: int) -> int:
    return max(1, round(share * count)) if share else 0


def _wanted(corpus: Corpus, classes: Sequence[str], settings: SpeechCommandsSettings) -> list[Recording]:
    """Leave out what no class needs, and, when splitting anew, silence that is cut already."""
    wanted = set(classes)
    if UNKNOWN in wanted:
        wanted |= {recording.word for recording in corpus.recordings if recording.word != SILENCE}
    if settings.split == "speaker" and corpus.backgrounds:
        wanted.discard(SILENCE)
    return [recording for recording in corpus.recordings if recording.word in wanted]


def _readable(
    corpus: Corpus, recordings: list[Recording], settings: SpeechCommandsSettings
) -> tuple[list[Recording], int]:
    """Look at every header; skip and list what cannot be used, unless it is too much."""
    good, bad = [], list(corpus.unusable)
    for recording in recordings:
        try:
            read_header(recording.file, strict=settings.sampling_rate == "strict")
            good.append(recording)
        except UnreadableAudio as error:
            bad.append(str(error))
    skip(bad, len(good) + len(bad), settings.max_unreadable)
    return good, len(bad)


def _check_classes(corpus: Corpus, recordings: list[Recording], classes: Sequence[str]) -> None:
    words = {recording.word for recording in recordings}
    there = {recording.word for recording in corpus.recordings}
    for name in classes:
        if name == SILENCE:
            if not corpus.backgrounds and SILENCE not in words:
                raise InputError(f"{corpus.name}: no {BACKGROUND}/*.wav to cut the class {SILENCE} from")
        elif name == UNKNOWN:
            if not words - set(classes) and UNKNOWN not in words:
                raise InputError(
                    f"{corpus.name}: no words beside the classes, so nothing for the class {UNKNOWN}"
                )
        elif name not in words:
            why = " can be used (the log says why)" if name in there else ""
            raise InputError(
                f"{corpus.name}: no recording of the class {name!r}{why}; add it or change the setting classes"
            )
