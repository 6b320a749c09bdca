"""The published data sets: what they are, whether they are here, whether they are as published.

``baselines/datasets.yaml`` says what has to be there; nothing is ever downloaded.
"""

from suite.datasets.preparation import prepare
from suite.datasets.published import PublishedDataset, read_published
from suite.datasets.verification import Verification, presence, published, verify

__all__ = ["PublishedDataset", "Verification", "prepare", "presence", "published", "read_published", "verify"]
