"""Sentences into those of another language: recurrent networks with attention."""

from __future__ import annotations

from federation.experiments import Experiment
from workspace.experiments.translation.settings import TranslationSettings

EXPERIMENT = Experiment(
    TranslationSettings,
    "workspace.experiments.translation.recipe:Translation",
    ("AttentionSeq2Seq",),
    statistics="translation",
    computes_sizes=True,
)
