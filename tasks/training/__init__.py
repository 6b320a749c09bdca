"""The training loop and what surrounds it: hooks, resources, weights, resume points, effective protocol."""
