"""Entry point of ``python -m suite``."""

import sys

from suite.cli import main

# Worker processes import this module again under another name, and must not run the command line again.
if __name__ == "__main__":
    sys.exit(main())
