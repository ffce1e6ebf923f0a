"""The learning code: one training loop, the OpenFL task runner that wraps it, and what recipes share."""
