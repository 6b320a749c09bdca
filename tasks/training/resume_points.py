"""Resume points: keeps the newest two of a training, and reads only intact ones of this training, as data.

A resume point is sealed for its training (`suite.store.sealed`) and written to a temporary file that is then
renamed. Just before, the newest so far is renamed to the older one, so that whenever a process is killed
there is an intact point: both, or only the newest so far, under the name of the older. A point that is
damaged, belongs to another training, or needs code to be read is set aside, and the one before it is used.
"""

from __future__ import annotations

import io
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from suite.store.files import replacing
from suite.store.run_folders import RESUME_BEFORE_FILE, RESUME_FILE
from suite.store.sealed import BrokenSealError, check_seal, seal_of
from tasks.training.safe_reading import RefusedCheckpointError, read_file, unpickle


class ResumePoints:
    """The resume points in the folder of a run."""

    def __init__(self, folder: Path, owner: str, tell: Callable[[str], None], writes: bool = True) -> None:
        """Sets the folder and the training; reads nothing yet.

        Args:
            folder: of the run.
            owner: identifies the training: its run, its teacher's weights and those it starts from.
            tell: called with a line for every unusable point.
            writes: whether this process changes the folder; of several that train together, only one does.
        """
        self._newest = folder / RESUME_FILE
        self._before = folder / RESUME_BEFORE_FILE
        self._owner = owner
        self._tell = tell
        self._writes = writes

    def write(self, checkpoint: Mapping[str, Any]) -> None:
        """Writes the newest point; the newest so far becomes the one before it.

        Args:
            checkpoint: tensors and plain values, nested.

        Raises:
            TypeError: something in it is not a plain value, and could not be read back.
            OSError: names the file that could not be written; the existing points are untouched.
        """
        if not self._writes:
            return
        content = io.BytesIO()
        torch.save(_plain(checkpoint), content)
        content.seek(0)
        if foreign := torch.serialization.get_unsafe_globals_in_checkpoint(content):
            raise TypeError(
                f"a resume point holds tensors and plain values, and no {', '.join(foreign)}: the optimiser "
                "or a scheduler of this training keeps one"
            )
        try:
            with replacing(self._newest) as aside:
                with open(aside, "wb") as file:
                    file.write(content.getbuffer())
                    file.write(seal_of(content.getbuffer(), self._owner))
                    file.flush()
                    # Before the older points move: a full disk may not show earlier than here.
                    os.fsync(file.fileno())
                if self._newest.exists():
                    self._newest.replace(self._before)
        except OSError as error:
            raise OSError(
                f"cannot write the checkpoint {self._newest} ({error.strerror}); make room there and run the "
                "same command again"
            ) from error

    def good(self) -> Iterator[tuple[Path, Any]]:
        """Yields the intact points of this training with their contents, the newest first.

        Any other is set aside. If the content of a point turns out not to fit, the caller has to `set_aside`
        it.
        """
        for path in (self._newest, self._before):
            if not (path.exists() or path.is_symlink()):
                continue
            try:
                content = read_file(path)
                check_seal(content, self._owner)
                found = unpickle(content, path.name)
            except (BrokenSealError, RefusedCheckpointError, OSError) as error:
                self.set_aside(path, str(error).removeprefix(f"{path.name} "))
                continue
            yield path, found

    def set_aside(self, path: Path, reason: str) -> None:
        """Renames a point so that it is not used, and reports what happens instead.

        Args:
            path: the point.
            reason: what is wrong with it, beginning with a verb.

        Raises:
            OSError: the folder cannot be written to.
        """
        if not self._writes:
            return
        aside = path.with_name(f"{path.name}.dropped")
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside)
        path.replace(aside)
        older = path == self._newest and self._before.exists()
        instead = "the one before it is used" if older else "the training starts over"
        self._tell(f"the resume point {path} {reason}: set aside as {aside.name}, and {instead}")


def _plain(value: Any) -> Any:
    """Replaces NumPy numbers, which PyTorch does not read as data, by Python's.

    A state dict is left as it is: it holds only tensors, and the versions of its modules as an attribute.
    """
    if isinstance(value, dict) and not isinstance(value, OrderedDict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value
