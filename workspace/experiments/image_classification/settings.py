"""The settings of image classification: checkpoint, model, strategy, augmentation. Needs no torch to check."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from workspace.experiments.image_classification.sizes import DEFAULT_SIZE, LARGEST, SMALLEST, contradiction
from workspace.learning.settings import HubId, Positive, Size, Sizes, TrainingSettings

OFFLINE = {"double": 2, "quadruple": 4, "octuple": 8}


@dataclass(frozen=True, kw_only=True)
class ResNetOverrides:
    """Keys of ``transformers.ResNetConfig``; what is left out stays as the checkpoint has it."""

    embedding_size: Size | None = None
    hidden_sizes: Sizes | None = None
    depths: Sizes | None = None
    layer_type: Literal["basic", "bottleneck"] | None = None
    hidden_act: Literal["relu", "gelu", "selu", "silu"] | None = None
    downsample_in_first_stage: bool | None = None
    downsample_in_bottleneck: bool | None = None

    def __post_init__(self) -> None:
        if self.hidden_sizes and self.depths and len(self.hidden_sizes) != len(self.depths):
            raise ValueError("hidden_sizes and depths must have one entry for each stage")


@dataclass(frozen=True, kw_only=True)
class ImageAugmentation:
    """What is done to training images, on the device; validation and test images are left alone.

    Parameters
    ----------
    policy : str
        ``none``. ``standard``: a random crop, scaled to the whole size, mirrored or not, its colours changed. ``randaugment``:
        the same without the colours, and then random operations (Cubuk et al. 2020). ``double``, ``quadruple``, ``octuple``:
        the set is enlarged by fixed views of each image, so that an epoch sees two, four or eight times as many samples.
    flip : bool
        Whether images may be mirrored; wrong for digits and letters.
    smallest_crop : float
        Of ``standard`` and ``randaugment``: the least share of the area that a crop keeps.
    colour : float
        Of ``standard``: brightness, contrast and saturation change by up to this share.
    operations, magnitude : int
        Of ``randaugment``: N, how many operations an image gets, and M, how strong they are, of 30.
    """

    policy: Literal["none", "standard", "randaugment", "double", "quadruple", "octuple"] = "none"
    flip: bool = True
    smallest_crop: Annotated[float, Field(gt=0, le=1)] = 0.35
    colour: Annotated[float, Field(ge=0, lt=1)] = 0.2
    operations: Annotated[int, Field(ge=1, le=14)] = 2
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9


@dataclass(frozen=True, kw_only=True)
class ImageClassificationSettings(TrainingSettings):
    """Image classification with ``ResNetForImageClassification``.

    Parameters
    ----------
    experiment : str
        Selects this experiment.
    checkpoint : str or None
        The hub id of the model to start from (a site may map it to a folder); none means random weights.
    model : ResNetOverrides or None
        Keys set over the checkpoint's config, or over the library's for random weights.
    image_size : int or None
        Pixels of a side that the model sees; none means the checkpoint's, or 224.
    strategy : {"full", "head", "discriminative", "gradual"}
        What is trained: all alike; the head alone; all, the head at a larger learning rate; or the head first and then stage
        after stage from the top, the head at a larger learning rate throughout.
    head_learning_rate_factor : float
        Of ``discriminative`` and ``gradual``: the head's learning rate as a multiple of the others'.
    unfrozen_by : float
        Of ``gradual``: the share of the rounds after which everything is trained.
    batch_norm : {"aggregate", "local", "freeze"}
        What becomes of BatchNorm: weights and statistics are averaged like all else; they are each site's own (FedBN, Li et al.
        2021); or they stay as they are.
    augmentation : ImageAugmentation
        What is done to training images.
    """

    experiment: Literal["image_classification"] = "image_classification"
    checkpoint: HubId | None = None
    model: ResNetOverrides | None = None
    image_size: Annotated[int, Field(ge=SMALLEST, le=LARGEST)] | None = None
    strategy: Literal["full", "head", "discriminative", "gradual"] = "full"
    head_learning_rate_factor: Positive = 10.0
    unfrozen_by: Annotated[float, Field(gt=0, le=1)] = 0.5
    batch_norm: Literal["aggregate", "local", "freeze"] = "aggregate"
    augmentation: ImageAugmentation = field(default_factory=ImageAugmentation)

    def __post_init__(self) -> None:
        given = asdict(self.model) if self.model else {}
        # Of a checkpoint, only its files know what they are set over.
        if self.checkpoint is None and (wrong := contradiction(given, self.image_size or DEFAULT_SIZE)):
            raise ValueError(f"model.{wrong}")
        if self.strategy == "head" and self.batch_norm == "local":
            raise ValueError(
                "batch_norm: local needs BatchNorm to be trained, and strategy: head leaves all but the head as it is"
            )
