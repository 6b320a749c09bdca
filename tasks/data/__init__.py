"""Data sets and transforms that count what they leave out."""
