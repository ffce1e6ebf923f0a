"""The console script ``fed``: joins the commands that each package brings, and turns errors into one line and an exit code."""
