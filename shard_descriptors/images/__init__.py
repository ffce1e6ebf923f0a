"""Images: a square of pixels and its class."""
