"""Our subclasses of OpenFL's engine; each file says which OpenFL behaviour it replaces and why."""
