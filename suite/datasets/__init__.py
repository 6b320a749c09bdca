"""The published data sets: describes them, finds them on disk, and verifies that they are as published.

``baselines/datasets.yaml`` says what they have to contain; nothing is ever downloaded.
"""

from suite.datasets.preparation import prepare
from suite.datasets.published import PublishedDataset, read_published
from suite.datasets.verification import Verification, presence, published, verify

__all__ = ["PublishedDataset", "Verification", "prepare", "presence", "published", "read_published", "verify"]
