"""Compares a run with the published protocol before it costs anything."""
