"""The sentiment recipe: where model and tokenizer come from, what of it is trained, and that others can load it."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from pydantic import TypeAdapter, ValidationError
from transformers import BertTokenizer, pipeline

from federation.errors import InputError
from tests.sentiment_data import CLASSES, SOURCES, VOCABULARY, sentences
from workspace.experiments.sentiment.encoder_attention import AttentionOptions
from workspace.experiments.sentiment.first_token import first_token_logits
from workspace.experiments.sentiment.recipe import Sentiment
from workspace.experiments.sentiment.settings import BertOverrides, SentimentSettings
from workspace.experiments.sentiment.word_pieces import SPECIAL, make_tokenizer
from workspace.learning.exchange import exchanged_tensors, frozen_fingerprint
from workspace.learning.exported import load_exported
from workspace.learning.settings import LoraSettings
from workspace.learning.training import evaluate, initial_model, train_round

ID = "distilbert-base-uncased"
SMALL = SentimentSettings(
    learning_rate=3e-3,
    schedule="constant",
    batch_size=8,
    vocabulary=VOCABULARY,
    model=BertOverrides(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.3,
    ),
)
ARCHITECTURES = ("distilbert", "bert")
TEXTS = ["The plot is good.", "What a dull film, so awful.", "I found the waiter lovely indeed"]


class Sentences(list[dict[str, Any]]):
    """A split of sentences."""

    def __init__(self, count: int = 24) -> None:
        every = [pair for source in SOURCES for pair in sentences(source, count // 3)]
        self.extend({"text": t, "label": label, "id": str(i)} for i, (t, label) in enumerate(every))


def small(architecture: Any = "distilbert", **changes: Any) -> Sentiment:
    assert SMALL.model is not None
    model = replace(SMALL.model, architecture=architecture)
    return Sentiment(replace(SMALL, model=model, **changes), CLASSES, {})


def started(folder: Path, classes: list[str] = CLASSES, **settings: Any) -> Sentiment:
    settings = {"learning_rate": 3e-3, "schedule": "constant", "batch_size": 8} | settings
    return Sentiment(SentimentSettings(checkpoint=ID, **settings), classes, {ID: str(folder)})


def train(recipe: Sentiment, model: Any, rounds: int = 1) -> None:
    for number in range(rounds):
        train_round(
            recipe,
            model,
            Sentences(),
            recipe.settings,
            rounds=rounds,
            round_number=number,
            seed=1,
            site="a",
            device="cpu",
        )


def probabilities(recipe: Sentiment, model: Any) -> dict[str, dict[str, float]]:
    return {p.input: dict(p.scores) for p in recipe.predict(model.eval(), TEXTS, AttentionOptions())}


def pipeline_probabilities(folder: Path) -> dict[str, dict[str, float]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classify = pipeline("text-classification", model=str(folder), device="cpu")
    answers = classify(TEXTS, top_k=None)
    return {
        text: {answer["label"]: answer["score"] for answer in one}
        for text, one in zip(TEXTS, answers, strict=True)
    }


@pytest.fixture(scope="module", params=ARCHITECTURES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in the Hugging Face format, as pre-training leaves it: an encoder without a head, and its tokenizer."""
    folder = tmp_path_factory.mktemp(request.param)
    recipe = small(request.param)
    model: Any = initial_model(recipe, seed=5)
    train(recipe, model, rounds=6)
    model.base_model.save_pretrained(folder)
    recipe.tokenizer.save_pretrained(folder)
    return folder


def test_a_vocabulary_makes_a_tokenizer_that_spells_what_it_does_not_know() -> None:
    tokenizer = make_tokenizer(["good", "didn'", "##est", "café"], "distilbert")
    assert tokenizer.convert_ids_to_tokens(range(9)) == [
        *SPECIAL,
        *("good", "didn'", "##est", "café"),
    ]
    assert tokenizer.tokenize("Goodest, didn't xy!") == [
        "good",
        "##est",
        ",",
        "didn",
        "'",
        "t",
        "x",
        "##y",
        "!",
    ]
    assert tokenizer.tokenize("CAFE") == ["cafe"]
    assert tokenizer.convert_tokens_to_ids("[PAD]") == tokenizer.pad_token_id == 0


def test_a_published_vocabulary_keeps_its_numbers() -> None:
    published = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "!", "the", "##s", "ß"]
    tokenizer = make_tokenizer(published, "bert")
    assert tokenizer.convert_ids_to_tokens(range(len(published))) == published
    assert (tokenizer.unk_token_id, tokenizer.cls_token_id) == (2, 3)
    plain = BertTokenizer(vocab={piece: index for index, piece in enumerate(published)})
    assert tokenizer("the thes!")["input_ids"][:2] == plain("the thes!")["input_ids"][:2]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_seed_decides_all_of_a_model_from_random_weights(architecture: str) -> None:
    models = [initial_model(small(architecture), seed) for seed in (1, 1, 2)]
    for model in models:
        train(small(architecture, word_dropout=0.3), model)
    first, again, other = map(exchanged_tensors, models)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["classifier.weight"], other["classifier.weight"])


def test_a_checkpoint_gives_the_encoder_and_the_seed_gives_the_head(checkpoint: Path) -> None:
    original = safetensors.numpy.load_file(checkpoint / "model.safetensors")
    models = [exchanged_tensors(initial_model(started(checkpoint), seed)) for seed in (1, 2)]
    for name, value in models[0].items():
        if name.startswith(("distilbert.", "bert.")):
            np.testing.assert_array_equal(value, original[name.partition(".")[2]])
            np.testing.assert_array_equal(value, models[1][name])
    assert not np.array_equal(models[0]["classifier.weight"], models[1]["classifier.weight"])


def test_features_train_and_exchange_one_linear_layer_without_dropout(checkpoint: Path) -> None:
    recipe = started(checkpoint, strategy="features", learning_rate=0.02)
    model: Any = initial_model(recipe, 1)
    before = frozen_fingerprint(model)
    assert list(exchanged_tensors(model)) == ["classifier.bias", "classifier.weight"]
    batch = recipe.collate(Sentences(), None)
    model.train()
    losses = [recipe.loss(model, batch)[0].item() for _ in range(2)]
    assert losses[0] == losses[1] == pytest.approx(np.log(2))
    train(recipe, model, rounds=5)
    assert frozen_fingerprint(model) == before
    assert recipe.loss(model, batch)[0].item() < 0.65


@pytest.mark.parametrize("width", [16, 768])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_exported_features_give_the_same_probabilities(architecture: Any, width: int, tmp_path: Path) -> None:
    assert SMALL.model is not None
    model_settings = replace(SMALL.model, architecture=architecture, hidden_size=width, num_hidden_layers=1)
    recipe = Sentiment(replace(SMALL, model=model_settings, strategy="features"), CLASSES, {})
    model: Any = initial_model(recipe, 1)
    torch.nn.init.normal_(model.classifier.weight, std=3 / width**0.5)  # logits of a few units
    torch.nn.init.normal_(model.classifier.bias)
    recipe.export(model, tmp_path)
    expected, found = probabilities(recipe, model), pipeline_probabilities(tmp_path)
    for text in TEXTS:
        assert found[text] == pytest.approx(expected[text], abs=1e-5)
    # And again by our own tools, which know nothing of the strategy any more.
    again, _, exported = load_exported(tmp_path)
    batch = recipe.collate(Sentences(), None)
    logits = exported.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    reference = first_token_logits(model, batch["input_ids"], batch["attention_mask"])
    torch.testing.assert_close(logits, reference, atol=1e-5, rtol=1e-5)
    assert again.classes == tuple(CLASSES)


def test_only_adapters_and_head_are_exchanged_with_lora(checkpoint: Path) -> None:
    recipe = started(checkpoint, lora=LoraSettings(rank=2))
    model = initial_model(recipe, 1)
    fingerprint, names = frozen_fingerprint(model), list(exchanged_tensors(model))
    train(recipe, model)
    assert frozen_fingerprint(model) == fingerprint
    assert sum(".lora_" in name for name in names) == 2 * 2 * 2  # A and B, query and value, two layers
    head = [name for name in names if ".lora_" not in name]
    assert len(head) == 4
    assert all(re.search(r"\.(pre_classifier|pooler\.dense|classifier)\.", name) for name in head)


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)])
def test_an_export_is_a_folder_that_a_transformers_pipeline_loads(
    checkpoint: Path, tmp_path: Path, lora: LoraSettings | None
) -> None:
    recipe = started(checkpoint, lora=lora, max_tokens=20)
    model = initial_model(recipe, 1)
    train(recipe, model)
    before = exchanged_tensors(model)
    recipe.export(model, tmp_path)
    expected, found = probabilities(recipe, model), pipeline_probabilities(tmp_path)
    for text in TEXTS:
        assert found[text] == pytest.approx(expected[text], abs=1e-5)
    after = exchanged_tensors(model)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    same, settings, loaded = load_exported(tmp_path)
    sums = [
        evaluate(r, m, Sentences(), s, device="cpu")
        for r, m, s in ((recipe, model, recipe.settings), (same, loaded, settings))
    ]
    assert float(sums[0]["loss_sum"]) == pytest.approx(float(sums[1]["loss_sum"]), rel=1e-5)
    assert same.max_tokens == recipe.max_tokens == 20  # type: ignore[attr-defined]


def test_an_export_is_a_checkpoint_for_other_classes(tmp_path: Path) -> None:
    recipe = small()
    model = initial_model(recipe, 1)
    recipe.export(model, tmp_path)
    other: Any = started(tmp_path, ["bad", "middling", "good"]).build_model()
    assert tuple(other.classifier.weight.shape) == (3, 16)
    assert other.config.id2label == {0: "bad", 1: "middling", 2: "good"}


def test_long_sentences_are_cut_and_short_ones_padded() -> None:
    batch = small(max_tokens=6).collate(
        [{"text": "good " * 50, "label": 1}, {"text": "bad", "label": 0}], None
    )
    assert batch["input_ids"].shape == (2, 6)
    assert batch["attention_mask"].sum(1).tolist() == [6, 3]
    assert small().max_tokens == 32  # the model's positions


def test_words_drop_out_in_training_only() -> None:
    recipe = small(word_dropout=0.5)
    samples = Sentences()
    plain = recipe.collate(samples, None)["input_ids"]
    dropped = recipe.collate(samples, np.random.default_rng(0))["input_ids"]
    again = recipe.collate(samples, np.random.default_rng(0))["input_ids"]
    assert torch.equal(dropped, again)
    changed = dropped != plain
    assert (dropped[changed] == recipe.tokenizer.unk_token_id).all()
    kept = ~np.isin(plain.numpy(), recipe.tokenizer.all_special_ids)
    assert 0.35 < changed.numpy()[kept].mean() < 0.65
    assert not changed.numpy()[~kept].any()


@pytest.mark.parametrize(
    ("strategy", "lora"), [("full", None), ("features", None), ("full", LoraSettings(rank=2))]
)
def test_attention_maps_are_of_layers_and_heads_with_the_tokens_as_labels(
    checkpoint: Path, strategy: Any, lora: LoraSettings | None
) -> None:
    recipe = started(checkpoint, strategy=strategy, lora=lora)
    model: Any = initial_model(recipe, 1).eval()
    plain = recipe.predict(model, TEXTS[:1], AttentionOptions())[0]
    last = recipe.predict(model, TEXTS[:1], AttentionOptions(), attention=True)[0]
    assert plain.attention == []
    assert plain.scores == last.scores
    assert [one.title for one in last.attention] == ["layer 2, head 1", "layer 2, head 2"]
    for one in last.attention:
        assert list(one.rows) == ["[CLS]", "the", "plot", "is", "good", ".", "[SEP]"] == list(one.columns)
        np.testing.assert_allclose(one.weights.sum(axis=1), 1, rtol=1e-5)
    every = recipe.predict(model, TEXTS[:1], AttentionOptions(layer="all"), attention=True)[0]
    assert len(every.attention) == 4
    chosen = recipe.predict(model, TEXTS[:1], AttentionOptions(layer=1, head=2), attention=True)[0]
    np.testing.assert_array_equal(chosen.attention[0].weights, every.attention[1].weights)
    for options in (AttentionOptions(layer=3), AttentionOptions(head=0)):
        with pytest.raises(
            InputError, match=r"^--option (layer=3|head=0): this model has (layer|head)s 1 to 2$"
        ):
            recipe.predict(model, TEXTS[:1], options, attention=True)


def test_attention_does_not_change_how_the_model_is_computed_afterwards() -> None:
    recipe = small()
    model: Any = initial_model(recipe, 1).eval()
    usual = model.config._attn_implementation
    recipe.predict(model, TEXTS, AttentionOptions(), attention=True)
    assert model.config._attn_implementation == usual != "eager"


def test_an_empty_input_is_told() -> None:
    with pytest.raises(InputError, match=r"^input 2 is empty"):
        small().predict(small().build_model().eval(), ["good", " "], AttentionOptions())


def test_a_tokenizer_that_differs_is_found_by_the_fingerprint() -> None:
    other = replace(SMALL, vocabulary=[*reversed(VOCABULARY)])
    prints = [frozen_fingerprint(initial_model(Sentiment(s, CLASSES, {}), 1)) for s in (SMALL, SMALL, other)]
    assert prints[0] == prints[1] != prints[2]
    used = small()
    used.collate(Sentences(), None)
    assert frozen_fingerprint(initial_model(used, 1)) == prints[0]


def test_a_checkpoint_without_a_tokenizer_takes_the_plans_vocabulary(tmp_path: Path) -> None:
    recipe = small()
    recipe.export(initial_model(recipe, 1), tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).unlink()
    with pytest.raises(
        InputError, match=f"^checkpoint {ID}: holds no tokenizer .* set vocabulary_file in the plan$"
    ):
        started(tmp_path)
    assert started(tmp_path, vocabulary=VOCABULARY).tokenizer.get_vocab() == recipe.tokenizer.get_vocab()
    more = [*VOCABULARY, "another"]
    with pytest.raises(InputError, match=r"its tokenizer has .* tokens, the model"):
        started(tmp_path, vocabulary=more)


def test_a_checkpoint_of_the_older_kind_has_its_vocabulary_in_a_text_file(tmp_path: Path) -> None:
    recipe = small()
    recipe.export(initial_model(recipe, 1), tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).unlink()
    pieces = recipe.tokenizer.convert_ids_to_tokens(range(len(recipe.tokenizer)))
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n")
    old = started(tmp_path)
    assert old.max_tokens == 32
    samples = Sentences()
    assert torch.equal(old.collate(samples, None)["input_ids"], recipe.collate(samples, None)["input_ids"])


def test_files_that_make_no_model_are_told_in_one_line(checkpoint: Path, tmp_path: Path) -> None:
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match=rf"^checkpoint {ID}: no BERT or DistilBERT .*[^\n]*$"):
        started(tmp_path).build_model()
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(InputError, match=rf"^checkpoint {ID}: is a model of the kind gpt2; known are"):
        started(tmp_path)


def test_an_encoder_of_another_shape_than_the_checkpoints_is_refused(checkpoint: Path) -> None:
    recipe = started(checkpoint, model=BertOverrides(intermediate_size=64))
    with pytest.raises(InputError, match=r"tensors are missing or of another shape"):
        recipe.build_model()
    assert started(checkpoint, model=BertOverrides(hidden_dropout_prob=0.3)).build_model()


def test_a_model_of_impossible_shape_is_told_in_one_line(checkpoint: Path) -> None:
    assert SMALL.model is not None
    with pytest.raises(ValueError, match=r"^model\.num_attention_heads must divide [^\n]*$"):
        replace(SMALL, model=replace(SMALL.model, hidden_size=15))
    with pytest.raises(InputError, match=rf"^checkpoint {ID}: no BERT or DistilBERT [^\n]*$"):
        started(checkpoint, model=BertOverrides(hidden_size=15)).build_model()
    with pytest.raises(ValueError, match=r"must be at least max_tokens: 64$"):
        small(max_tokens=64)
    with pytest.raises(
        InputError, match=r"^task_runner\.settings\.max_tokens: 64 are more than .* 32 positions"
    ):
        started(checkpoint, max_tokens=64)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "needs a vocabulary"),
        ({"vocabulary": []}, "at least 1 item"),
        ({"checkpoint": ID, "strategy": "features", "lora": {}}, "trains no adapters"),
        ({"checkpoint": ID, "strategy": "features", "word_dropout": 0.1}, "leave word_dropout out"),
        ({"checkpoint": ID, "model": {"architecture": "bert"}}, "a checkpoint says its own"),
        ({"checkpoint": "../secrets"}, "match pattern"),
        ({"checkpoint": ID, "max_tokens": 2}, "greater than or equal to 3"),
        ({"checkpoint": ID, "strategy": "half"}, "'full' or 'features'"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(SentimentSettings).validate_python(wrong)
