"""Figures of the report: pure functions from judged rows, published data and series of scalars to SVG."""
