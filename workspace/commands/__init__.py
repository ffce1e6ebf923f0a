"""The commands of a workspace: those that talk to a director, and those that need this machine only."""
