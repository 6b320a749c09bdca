"""Imported last by the server that workers are forked from: what is there by then is no garbage of theirs.

mmengine collects garbage for every data set that it builds. With all that a training imports, that takes a
third of a second each time, and whatever the collector touches is copied from the server's memory.
"""

from __future__ import annotations

import gc

gc.collect()
gc.freeze()
