"""The table of experiments, and the learning code's part of the table of templates.

An entry point of ``federation.templates`` names it. A new experiment is a line here; nothing of this needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from federation.settings import NoSettings
from federation.templates import Template
from workspace.settings.image_classification import ImageClassificationSettings
from workspace.settings.keyword_spotting import KeywordSpottingSettings
from workspace.settings.sentiment import SentimentSettings
from workspace.settings.training import TrainingSettings
from workspace.settings.translation import TranslationSettings


@dataclass(frozen=True)
class Experiment:
    """Where an experiment's parts are.

    Parameters
    ----------
    settings : type
        What a plan's task runner may set; its ``checkpoint`` names the model to start from.
    recipe : str
        ``module:class`` of its `workspace.learning.recipe.Recipe`.
    architectures : tuple of str
        What ``config.json`` of its exported models says, by which a model folder is known again.
    """

    settings: type[TrainingSettings]
    recipe: str
    architectures: tuple[str, ...]


EXPERIMENTS: dict[str, Experiment] = {
    "image_classification": Experiment(
        ImageClassificationSettings,
        "workspace.experiments.image_classification:ImageClassification",
        ("ResNetForImageClassification",),
    ),
    "keyword_spotting": Experiment(
        KeywordSpottingSettings,
        "workspace.experiments.keyword_spotting:KeywordSpotting",
        ("Wav2Vec2ForSequenceClassification",),
    ),
    "sentiment": Experiment(
        SentimentSettings,
        "workspace.experiments.sentiment:Sentiment",
        ("DistilBertForSequenceClassification", "BertForSequenceClassification"),
    ),
    "translation": Experiment(
        TranslationSettings, "workspace.experiments.translation:Translation", ("AttentionSeq2Seq",)
    ),
}

LEARNING: dict[str, Template] = {
    "workspace.learning.data_loader.ShardDataLoader": Template(NoSettings, "data_loader"),
    "workspace.learning.task_runner.FineTuning": Template(
        {name: experiment.settings for name, experiment in EXPERIMENTS.items()}, "task_runner"
    ),
}
