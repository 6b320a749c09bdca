"""Data sets and transforms that count the data they skip."""
