"""What hostile members try, and what comes of it: docs/security.md has the table."""
