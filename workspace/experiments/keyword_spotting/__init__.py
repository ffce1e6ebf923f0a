"""Keyword spotting: wav2vec 2.0 on clips of one second."""

from __future__ import annotations

from federation.experiments import Experiment
from workspace.experiments.keyword_spotting.settings import KeywordSpottingSettings

EXPERIMENT = Experiment(
    KeywordSpottingSettings,
    "workspace.experiments.keyword_spotting.recipe:KeywordSpotting",
    ("Wav2Vec2ForSequenceClassification",),
    computes_sizes=True,
)
