"""Puts the data that lie beside the packages in a checkout into the wheel; all else is in pyproject.toml.

`baselines/`, the lock and the reference records belong to no package: people read and edit them. A wheel
carries copies below ``suite/bundle/``, laid out as in the checkout, where `suite.paths` finds them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
BUNDLED = ("baselines", "results/reference", "requirements.lock")


class BuildWithData(build_py):
    """Builds the packages, then copies the data beside them; an editable install reads them in place."""

    def run(self) -> None:
        """Builds into `build_lib`."""
        super().run()
        if self.editable_mode:
            return
        bundle = Path(self.build_lib) / "suite" / "bundle"
        # What an earlier build left there may be gone from the checkout.
        shutil.rmtree(bundle, ignore_errors=True)
        for name in BUNDLED:
            source, target = ROOT / name, bundle / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy(source, target)


setup(cmdclass={"build_py": BuildWithData})
