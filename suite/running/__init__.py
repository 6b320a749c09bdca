"""Executes a plan: the scheduler, the worker of one run, and how far they are."""
