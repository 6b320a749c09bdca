"""The tests. A package, so that another of this name that a dependency installs does not take its place."""
