"""The embedded data sets: composed from scikit-learn's handwritten digits, the same bytes everywhere."""
