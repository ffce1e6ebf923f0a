"""The settings that plans give to the learning code, as dataclasses that need no torch to check."""
