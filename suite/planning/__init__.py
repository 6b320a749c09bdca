"""Turns claims into runs: composes recipes, identifies runs, and plans the runs of a selection."""
