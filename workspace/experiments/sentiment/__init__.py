"""Sentences into classes: BERT and DistilBERT."""

from __future__ import annotations

from federation.experiments import Experiment
from workspace.experiments.sentiment.settings import SentimentSettings

EXPERIMENT = Experiment(
    SentimentSettings,
    "workspace.experiments.sentiment.recipe:Sentiment",
    ("DistilBertForSequenceClassification", "BertForSequenceClassification"),
    computes_sizes=True,
)
