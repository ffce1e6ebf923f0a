"""Speech that espeak-ng voices say, for trying things out: a folder in Speech Commands layout."""
