"""Text: labelled sentences, and sentences with their translation."""
