"""What surrounds a training: hooks, resources, weights, and its effective protocol."""
