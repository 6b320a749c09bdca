"""A folder for the Python path of a command that something is to happen to."""
