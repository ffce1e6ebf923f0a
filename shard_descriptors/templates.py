"""Our part of the table of templates; read where torch is not installed."""

from __future__ import annotations

from federation.templates import Template
from shard_descriptors.image_settings import ImageFolderSettings
from shard_descriptors.sentiment_settings import SentimentShardSettings
from shard_descriptors.settings import SpeechCommandsSettings
from shard_descriptors.translation_settings import TranslationShardSettings

SHARDS: dict[str, Template] = {
    "shard_descriptors.speech_commands.SpeechCommandsShard": Template(
        SpeechCommandsSettings, "shard_descriptor"
    ),
    "shard_descriptors.image_folder.ImageFolderShard": Template(ImageFolderSettings, "shard_descriptor"),
    "shard_descriptors.sentiment.SentimentShard": Template(SentimentShardSettings, "shard_descriptor"),
    "shard_descriptors.translation.TranslationShard": Template(TranslationShardSettings, "shard_descriptor"),
}
