"""The wire protocol: ``federation.proto`` and the code generated from it."""

VERSION = 1
"""Of the protocol, which members tell each other. A version speaks with the one before; 0 is that of project 0.1.0."""
