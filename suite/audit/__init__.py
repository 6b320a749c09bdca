"""Holds a run against the published protocol before it costs anything."""
