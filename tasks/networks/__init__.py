"""Networks and layers that no model zoo offers."""
