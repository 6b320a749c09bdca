"""Teacher, student and losses as one model: taps, the distiller, inheriting."""
