"""What adversaries do, each in a test: members with valid certificates, and directors. docs/security.md has the table."""
