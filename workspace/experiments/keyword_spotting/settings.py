"""The settings of keyword spotting: checkpoint, model, adapters, augmentation. Needs no torch to check."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from workspace.experiments.keyword_spotting.sizes import DEFAULTS, LINEAR, contradiction
from workspace.learning.settings import HubId, LoraSettings, Probability, Share, Size, Sizes, TrainingSettings

Decibels = Annotated[float, Field(ge=-200, le=200)]


@dataclass(frozen=True, kw_only=True)
class Wav2Vec2Overrides:
    """Keys of ``transformers.Wav2Vec2Config``; what is left out stays as the checkpoint has it."""

    hidden_size: Size | None = None
    num_hidden_layers: Size | None = None
    num_attention_heads: Size | None = None
    intermediate_size: Size | None = None
    hidden_dropout: Share | None = None
    activation_dropout: Share | None = None
    attention_dropout: Share | None = None
    feat_proj_dropout: Share | None = None
    final_dropout: Share | None = None
    layerdrop: Share | None = None
    initializer_range: Annotated[float, Field(gt=0, le=1)] | None = None
    feat_extract_norm: Literal["group", "layer"] | None = None
    feat_extract_activation: Literal["gelu", "relu", "selu", "gelu_new"] | None = None
    conv_dim: Sizes | None = None
    conv_stride: Sizes | None = None
    conv_kernel: Sizes | None = None
    conv_bias: bool | None = None
    num_conv_pos_embeddings: Size | None = None
    num_conv_pos_embedding_groups: Size | None = None
    do_stable_layer_norm: bool | None = None
    apply_spec_augment: bool | None = None
    mask_time_prob: Probability | None = None
    mask_time_length: Size | None = None
    mask_time_min_masks: Annotated[int, Field(ge=0, le=65_536)] | None = None
    mask_feature_prob: Probability | None = None
    mask_feature_length: Size | None = None
    mask_feature_min_masks: Annotated[int, Field(ge=0, le=65_536)] | None = None
    use_weighted_layer_sum: bool | None = None
    classifier_proj_size: Size | None = None

    def __post_init__(self) -> None:
        layers = {
            len(sizes) for sizes in (self.conv_dim, self.conv_kernel, self.conv_stride) if sizes is not None
        }
        if len(layers) > 1:
            raise ValueError("conv_dim, conv_kernel and conv_stride must have one entry for each convolution")


@dataclass(frozen=True, kw_only=True)
class AudioAugmentation:
    """What is done to a training clip before it is normalised; everything is off at its default.

    Parameters
    ----------
    shift_ms : float
        Moved in time by up to this much, earlier or later.
    speed : float
        Played faster or slower by up to this share (the pitch moves with it).
    gain_db : float
        Louder or softer by up to this much before noise is added.
    noise : float
        The probability that noise of a random colour is added.
    noise_snr_db : list of two floats
        The lowest and highest ratio of signal to noise.
    """

    shift_ms: Annotated[float, Field(ge=0, le=500)] = 0.0
    speed: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    gain_db: Annotated[float, Field(ge=0, le=40)] = 0.0
    noise: Probability = 0.0
    noise_snr_db: Annotated[list[Decibels], Field(min_length=2, max_length=2)] = field(
        default_factory=lambda: [0.0, 30.0]
    )

    def __post_init__(self) -> None:
        if self.noise_snr_db[0] > self.noise_snr_db[1]:
            raise ValueError("noise_snr_db must be the lowest and then the highest ratio")


@dataclass(frozen=True, kw_only=True)
class KeywordSpottingSettings(TrainingSettings):
    """Keyword spotting with ``Wav2Vec2ForSequenceClassification``.

    Parameters
    ----------
    experiment : str
        Selects this experiment.
    checkpoint : str or None
        The hub id of the model to start from (a site may map it to a folder); none means random weights.
    model : Wav2Vec2Overrides or None
        Keys set over the checkpoint's config, or over the library's for random weights.
    filterbank_start : bool
        With random weights: the first convolution starts as a filterbank on the mel scale.
    freeze_feature_encoder : bool
        Leaves the convolutions over the waveform as they are.
    gradient_checkpointing : bool
        Computes activations twice to hold fewer of them in memory.
    lora : LoraSettings or None
        Trains low-rank adapters and the head only.
    augmentation : AudioAugmentation
        What is done to training clips.
    """

    experiment: Literal["keyword_spotting"] = "keyword_spotting"
    checkpoint: HubId | None = None
    model: Wav2Vec2Overrides | None = None
    filterbank_start: bool = False
    freeze_feature_encoder: bool = False
    gradient_checkpointing: bool = False
    lora: LoraSettings | None = None
    augmentation: AudioAugmentation = field(default_factory=AudioAugmentation)

    def __post_init__(self) -> None:
        if self.filterbank_start and self.checkpoint:
            raise ValueError(
                "filterbank_start is for random weights: set checkpoint to null, or leave it out"
            )
        if self.lora:
            self.lora.refuse_unless_in(LINEAR)
        given = asdict(self.model) if self.model else {}
        # Of a checkpoint, only its files know what they are set over: its recipe looks at them.
        if self.checkpoint is None and (wrong := contradiction(given)):
            raise ValueError(f"model.{wrong}")
        if self.filterbank_start and (channels := (given.get("conv_dim") or DEFAULTS["conv_dim"])[0]) % 2:
            raise ValueError(
                f"filterbank_start needs an even number of channels in the first convolution: model.conv_dim has {channels}"
            )
