"""What the records say of each claim: which of them count, and the judged frame."""
