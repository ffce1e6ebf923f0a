"""Data to try a plan with: small, made without a network, the same each time, and such that the tiny plans learn it."""
