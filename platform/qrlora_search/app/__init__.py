"""Application: run a search, build a front view, report, command line."""
