"""What an operator does to a director's state from outside: looks at it, mends it, copies it."""
