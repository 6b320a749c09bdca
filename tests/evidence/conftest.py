"""The small published world of the report tests, and its records."""

from tests.report.conftest import dense_paper, pair_records, paper, record, seeds

__all__ = ["dense_paper", "pair_records", "paper", "record", "seeds"]
