"""Data at a site, opened and described: shard descriptors, partitioners, speech synthesis for the demo."""
