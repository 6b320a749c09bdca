"""Executes a plan: the scheduler, the launchers, the worker of a run, and progress reports."""
