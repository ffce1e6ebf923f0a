"""The long-lived participant at a site: owns one shard, its devices and its site policy."""
