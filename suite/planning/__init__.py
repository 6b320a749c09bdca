"""From claims to runs: composing recipes, the identity of a run, and the plan of a selection."""
