"""One readable file per experiment: model, preprocessing, metrics."""
