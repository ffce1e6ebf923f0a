"""The experiments' learning code: a folder for each, in plain PyTorch and transformers."""
