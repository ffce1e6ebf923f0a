"""The wire protocol: ``federation.proto`` and the code generated from it."""
