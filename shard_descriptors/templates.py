"""Our part of the table of templates; read where torch is not installed."""

from __future__ import annotations

from federation.templates import Template
from shard_descriptors.images.settings import ImageFolderSettings
from shard_descriptors.speech.settings import SpeechCommandsSettings
from shard_descriptors.text.sentiment_settings import SentimentShardSettings
from shard_descriptors.text.translation_settings import TranslationShardSettings


def _shard(settings: type, earlier: str) -> Template:
    return Template(settings, "shard_descriptor", (f"shard_descriptors.{earlier}",))


SHARDS: dict[str, Template] = {
    "shard_descriptors.speech.speech_commands.SpeechCommandsShard": _shard(
        SpeechCommandsSettings, "speech_commands.SpeechCommandsShard"
    ),
    "shard_descriptors.images.image_folder.ImageFolderShard": _shard(
        ImageFolderSettings, "image_folder.ImageFolderShard"
    ),
    "shard_descriptors.text.sentiment.SentimentShard": _shard(
        SentimentShardSettings, "sentiment.SentimentShard"
    ),
    "shard_descriptors.text.translation.TranslationShard": _shard(
        TranslationShardSettings, "translation.TranslationShard"
    ),
}
