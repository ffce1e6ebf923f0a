"""A federation on one machine: the same aggregator, collaborators and shards as a deployed one, without gRPC."""
