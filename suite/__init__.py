"""Reproducibility benchmark for knowledge-distillation papers: FGD, MGD, NKD, tf-NKD and USKD."""

__version__ = "0.1.0"
