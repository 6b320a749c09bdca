"""Figures of reports: pure functions from judged rows, published data and scalar series to SVG."""
