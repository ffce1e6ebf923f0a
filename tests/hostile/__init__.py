"""What adversaries do, each in a test: members with valid certificates, and directors."""
