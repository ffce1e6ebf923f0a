"""``python -m workspace.demo``."""

from workspace.demo.run import main

main()
