"""The translation recipe: it learns, it is measured as sacrebleu measures, and others can load what it wrote."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from sacrebleu.metrics import BLEU
from safetensors.torch import load_file, save_file

from federation.errors import InputError
from federation.statistics import derive
from shard_descriptors.descriptor import Split
from shard_descriptors.text.translation import TranslationShard
from shard_descriptors.text.words import count_words, joined, merge_counts, words
from tests.translation_data import write_pairs
from workspace.experiments.translation.attention_seq2seq import AttentionSeq2Seq
from workspace.experiments.translation.recipe import DecodingOptions, Translation
from workspace.experiments.translation.settings import TranslationModel, TranslationSettings
from workspace.experiments.translation.vocabulary import BOS, PAD
from workspace.learning.exchange import exchanged_tensors, frozen_fingerprint
from workspace.learning.exported import load_exported
from workspace.learning.training import evaluate, initial_model, train_round

ID = "someone/english-french"


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> TranslationShard:
    return TranslationShard(root=write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.txt"), test_share=0.15)


@pytest.fixture(scope="module")
def settings(shard: TranslationShard) -> TranslationSettings:
    vocabularies = {
        f"{field}_vocabulary": merge_counts([count_words(shard.split("train"), field)], 1000)
        for field in ("source", "target")
    }
    return TranslationSettings(
        **vocabularies,
        model=TranslationModel(embedding_size=24, hidden_size=32, dropout=0.0, max_length=10),
        learning_rate=1e-2,
        schedule="one_cycle",
        warmup=0.3,
        batch_size=16,
        epochs=10,
    )


def train(recipe: Translation, split: Split) -> torch.nn.Module:
    model = initial_model(recipe, 1)
    train_round(
        recipe, model, split, recipe.settings, rounds=1, round_number=0, seed=1, site="a", device="cpu"
    )
    return model.eval()


@pytest.fixture(scope="module")
def recipe(settings: TranslationSettings) -> Translation:
    return Translation(settings, (), {})


@pytest.fixture(scope="module")
def model(recipe: Translation, shard: TranslationShard) -> torch.nn.Module:
    return train(recipe, shard.split("train"))


@pytest.fixture(scope="module")
def exported(recipe: Translation, model: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    recipe.export(model, folder)
    return folder


def bleu(recipe: Translation, model: torch.nn.Module, split: Split) -> float:
    return derive("translation", evaluate(recipe, model, split, recipe.settings, device="cpu"), [])["bleu"]


def test_additive_attention_learns_sentences_that_it_has_not_seen(
    recipe: Translation, model: torch.nn.Module, shard: TranslationShard
) -> None:
    assert bleu(recipe, initial_model(recipe, 1), shard.split("test")) < 5
    assert bleu(recipe, model, shard.split("test")) > 60


def test_dot_product_attention_by_one_setting_learns_them_too(
    settings: TranslationSettings, shard: TranslationShard
) -> None:
    assert settings.model is not None
    other = Translation(replace(settings, model=replace(settings.model, attention="dot_product")), (), {})
    assert bleu(other, train(other, shard.split("train")), shard.split("test")) > 60


def test_the_same_seed_gives_the_same_bits(
    recipe: Translation, model: torch.nn.Module, shard: TranslationShard
) -> None:
    again = exchanged_tensors(train(recipe, shard.split("train")))
    for name, value in exchanged_tensors(model).items():
        np.testing.assert_array_equal(again[name], value)


def test_the_whole_model_travels_and_nothing_is_frozen(recipe: Translation, model: torch.nn.Module) -> None:
    assert set(exchanged_tensors(model)) == set(model.state_dict())
    assert frozen_fingerprint(model) == frozen_fingerprint(initial_model(recipe, 2))


def test_the_loss_of_validation_is_the_likelihood_of_each_target_whatever_the_batches(
    recipe: Translation, model: torch.nn.Module, shard: TranslationShard
) -> None:
    split = shard.split("validation")
    sums = [
        evaluate(recipe, model, split, replace(recipe.settings, evaluation_batch_size=size), device="cpu")
        for size in (1, 64)
    ]
    for name in sums[0].keys() - {"loss_sum"}:
        np.testing.assert_array_equal(sums[0][name], sums[1][name])
    assert float(sums[0]["loss_sum"]) == pytest.approx(float(sums[1]["loss_sum"]), rel=1e-4)
    assert int(sums[0]["tokens"]) == sum(len(words(sample["target"])) + 1 for sample in split)


def test_bleu_is_sacrebleus_of_the_greedy_translations(
    recipe: Translation, model: torch.nn.Module, shard: TranslationShard
) -> None:
    split = shard.split("validation")
    written = [recipe.predict(model, [sample["source"]], DecodingOptions())[0].output for sample in split]
    references = [joined(words(sample["target"])) for sample in split]
    expected = BLEU(lowercase=True, force=True).corpus_score(written, [references]).score
    assert bleu(recipe, model, split) == pytest.approx(expected)


def test_shorter_sentences_of_a_batch_are_padded_at_their_ends(recipe: Translation) -> None:
    pairs = [("I see the cat.", "Je vois le chat."), ("Go!", "Va!")]
    batch = recipe.collate([{"source": source, "target": target} for source, target in pairs], None)
    for name, vocabulary, which in (("input_ids", recipe.source, 0), ("labels", recipe.target, 1)):
        rows = [vocabulary.numbers(words(pair[which])) for pair in pairs]
        assert batch[name].tolist() == [rows[0], rows[1] + [PAD] * (len(rows[0]) - len(rows[1]))]
    assert torch.equal(batch["attention_mask"], (batch["input_ids"] != PAD).long())
    labels = recipe.target.numbers(words(pairs[1][1]))
    assert batch["decoder_input_ids"][1, : len(labels)].tolist() == [BOS, *labels[:-1]]
    assert batch["decoder_input_ids"][1, len(labels) :].eq(PAD).all()


def test_training_batches_are_not_decoded(recipe: Translation, model: torch.nn.Module) -> None:
    batch = recipe.collate([{"source": "I see the cat.", "target": "Je vois le chat."}], None)
    model.train()
    _, sums = recipe.loss(model, batch)
    model.eval()
    assert "bleu" not in derive("translation", sums, [])


def test_unknown_words_can_be_read_and_are_never_written(recipe: Translation, model: torch.nn.Module) -> None:
    one = recipe.predict(model, ["Zorro sees the cat."], DecodingOptions())[0]
    assert "<" not in one.output
    assert one.scores["log_probability"] < 0


@pytest.mark.parametrize("decoding", ["greedy", "beam", "top_k", "nucleus"])
def test_every_decoding_translates_and_shows_its_attention(
    recipe: Translation, model: torch.nn.Module, decoding: Any
) -> None:
    options = DecodingOptions(decoding=decoding, k=2, p=0.5, temperature=0.1)
    one, other = recipe.predict(model, ["I see the cat.", "We want a book now."], options, attention=True)
    assert one.output == "je vois le chat."
    (drawn,) = other.attention
    assert list(drawn.columns) == ["we", "want", "a", "book", "now", ".", "<eos>"]
    assert list(drawn.rows) == [*words(other.output), "<eos>"]
    assert drawn.weights.shape == (len(drawn.rows), len(drawn.columns))
    np.testing.assert_allclose(drawn.weights.sum(axis=1), 1, rtol=1e-5)
    assert not recipe.predict(model, ["I see."], options)[0].attention
    same = recipe.predict(model, ["I see the cat.", "We want a book now."], options)
    assert [p.output for p in same] == [one.output, other.output]


def test_an_input_without_words_is_told(recipe: Translation, model: torch.nn.Module) -> None:
    with pytest.raises(InputError, match="'  ' holds no words to translate"):
        recipe.predict(model, ["  "], DecodingOptions())


@pytest.mark.parametrize("wrong", [{"decoding": "best"}, {"p": 0}, {"k": 0}, {"beam_size": 0}, {"seed": -1}])
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(DecodingOptions).validate_python(wrong)


def test_an_export_is_loaded_by_from_pretrained_and_by_us(
    recipe: Translation, model: torch.nn.Module, exported: Path, shard: TranslationShard
) -> None:
    alone: Any = AttentionSeq2Seq.from_pretrained(exported)
    for name, value in model.state_dict().items():
        assert torch.equal(alone.state_dict()[name], value), name
    assert json.loads((exported / "config.json").read_text())["architectures"] == ["AttentionSeq2Seq"]
    again, settings, loaded = load_exported(exported)
    assert isinstance(again, Translation)
    assert (again.source.words, again.target.words) == (recipe.source.words, recipe.target.words)
    split = shard.split("test")
    sums = [
        evaluate(r, m, split, s, device="cpu")
        for r, m, s in ((recipe, model, recipe.settings), (again, loaded, settings))
    ]
    for name, value in sums[0].items():
        np.testing.assert_array_equal(sums[1][name], value)


def test_training_goes_on_from_a_checkpoint(exported: Path, model: torch.nn.Module) -> None:
    recipe = Translation(TranslationSettings(checkpoint=ID), (), {ID: str(exported)})
    start = exchanged_tensors(initial_model(recipe, 5))
    for name, value in exchanged_tensors(model).items():
        np.testing.assert_array_equal(start[name], value)


def test_a_checkpoint_that_lacks_a_part_is_told_in_one_line(exported: Path, tmp_path: Path) -> None:
    def refused() -> str:
        with pytest.raises(InputError) as caught:
            Translation(TranslationSettings(checkpoint=ID), (), {ID: str(tmp_path)}).build_model()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert f"checkpoints: {{{ID}: /path/to/folder}}" in refused()
    (tmp_path / "config.json").write_bytes((exported / "config.json").read_bytes())
    assert "source_vocabulary.txt: there is no such file" in refused()
    for name in ("source_vocabulary.txt", "target_vocabulary.txt"):
        (tmp_path / name).write_bytes((exported / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    assert refused().startswith(f"checkpoint {ID}: no AttentionSeq2Seq can be made of it")
    (tmp_path / "source_vocabulary.txt").write_text("one\n")
    assert "has 1 words, the model was made for" in refused()


def test_a_checkpoint_that_lacks_a_tensor_is_refused_and_not_filled_at_random(
    exported: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(exported, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["readout.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    recipe = Translation(TranslationSettings(checkpoint=ID), (), {ID: str(folder)})
    with pytest.raises(
        InputError, match=r"1 tensors are missing or of another shape, the first is readout.weight"
    ):
        recipe.build_model()


@pytest.mark.parametrize(
    ("key", "value"), [("longest_output", 0), ("longest_output", None), ("source_vocabulary_size", "many")]
)
def test_a_size_that_is_none_is_told_by_its_key(
    key: str, value: object, exported: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(exported, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(InputError, match=f"config.json: {key} is .*; it must be a number above 0"):
        Translation(TranslationSettings(checkpoint=ID), (), {ID: str(folder)})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "source_vocabulary is missing"),
        ({"source_vocabulary": ["a"]}, "target_vocabulary is missing"),
        ({"source_vocabulary": ["a", "a"], "target_vocabulary": ["b"]}, "holds 'a' twice"),
        ({"source_vocabulary": ["a"], "target_vocabulary": ["b c"]}, "holds 'b c', which is no single word"),
        ({"checkpoint": ID, "source_vocabulary": ["a"]}, "comes with the checkpoint"),
        ({"checkpoint": ID, "model": {"hidden_size": 8}}, "model comes with the checkpoint"),
    ],
)
def test_settings_that_contradict_each_other_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(TranslationSettings).validate_python(settings)


def test_classes_are_refused(settings: TranslationSettings) -> None:
    with pytest.raises(InputError, match="translation has no classes"):
        Translation(settings, ("yes", "no"), {})
