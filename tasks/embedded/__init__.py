"""The data that ship: scenes composed from scikit-learn's handwritten digits, built once, byte for byte."""
