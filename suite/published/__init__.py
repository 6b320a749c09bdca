"""What was published, read from ``baselines/``: claims, recipes, models, protocols, priors, checkpoints."""
