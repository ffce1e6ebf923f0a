"""Images into classes: residual networks, fine-tuned by several strategies."""

from __future__ import annotations

from federation.experiments import Experiment
from workspace.experiments.image_classification.settings import OFFLINE, ImageClassificationSettings

EXPERIMENT = Experiment(
    ImageClassificationSettings,
    "workspace.experiments.image_classification.recipe:ImageClassification",
    ("ResNetForImageClassification",),
    enlargement=lambda settings: OFFLINE.get(settings.augmentation.policy, 1),
    computes_sizes=True,
)
