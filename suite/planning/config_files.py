"""The YAML files that Hydra composes: read once, by libyaml, and refused with file and line."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.core_plugins.structured_config_source import StructuredConfigSource
from hydra.core.default_element import InputDefault
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import OmegaConfBaseException

from suite.errors import SuiteError
from suite.strict_yaml import shown


class ConfigFiles(ConfigRepository):
    """Hydra's repository of the configs of some folders, which keeps what it has read."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = [_Folder("main", str(folder)) for folder in folders]
        self.sources = [*self.folders, StructuredConfigSource("schema", "structured://")]
        self._loaded: dict[str, ConfigResult | None] = {}

    def load_config(self, config_path: str) -> ConfigResult | None:
        """A config with its defaults list; nobody may change it.

        Raises:
            SuiteError: the file is broken, or several folders have it.
        """
        if config_path not in self._loaded:
            found = [folder.file(config_path) for folder in self.folders if folder.is_config(config_path)]
            if len(found) > 1:
                raise SuiteError(
                    f"{shown(found[1])}: there is {shown(found[0])} too; give one of them another name"
                )
            try:
                self._loaded[config_path] = super().load_config(config_path)
            except ValueError as error:
                raise SuiteError(f"{shown(found[0])}: {one_line(error)}; fix that file") from None
        return self._loaded[config_path]


class ConfigCopies(ConfigFiles):
    """The same files, as configs that may be changed."""

    def __init__(self, files: ConfigFiles) -> None:
        self.folders, self.sources, self._loaded = files.folders, files.sources, files._loaded

    def load_config(self, config_path: str) -> ConfigResult | None:
        """A config of its own with its defaults list.

        Raises:
            SuiteError: the file is broken, or several folders have it.
        """
        loaded = copy.copy(super().load_config(config_path))
        if loaded is not None:
            loaded.config = copy.deepcopy(loaded.config)
        return loaded


class OneEntry(ConfigFiles):
    """The same files, with a main config that holds nothing but one entry of its defaults list."""

    def __init__(self, files: ConfigFiles, main_config: str, entry: InputDefault) -> None:
        self.folders, self.sources, self._loaded = files.folders, files.sources, files._loaded
        self._main_config, self._entry = main_config, entry

    def load_config(self, config_path: str) -> ConfigResult | None:
        """A config with its defaults list; nobody may change it.

        Raises:
            SuiteError: the file is broken, or several folders have it.
        """
        loaded = super().load_config(config_path)
        if loaded is not None and config_path == self._main_config:
            return replace(loaded, config=OmegaConf.create(), defaults_list=[self._entry])
        return loaded


class _Folder(FileConfigSource):
    """Hydra's folder of configs, read by libyaml and refused with file and line."""

    def file(self, config_path: str) -> Path:
        """Where a config stands."""
        return Path(self.path, self._normalize_file_name(config_path))

    def load_config(self, config_path: str) -> ConfigResult:
        """Reads a config.

        Raises:
            SuiteError: the file cannot be read, is no YAML, or holds no mapping.
        """
        path = self.file(config_path)
        try:
            text = path.read_text(encoding="utf-8")
            content = yaml.load(text, Loader=yaml_loader())
            if not isinstance(content, dict | None):
                raise ValueError(f"holds a {type(content).__name__} where keys and values are wanted")
            return ConfigResult(
                config=OmegaConf.create(content or {}),
                path=self.full_path(),
                provider=self.provider,
                header=self._get_header_dict(text[:512]),
            )
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f":{mark.line + 1}" if mark else ""
            raise SuiteError(f"{shown(path)}{line}: {one_line(error.problem)}; fix that line") from None
        except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
            raise SuiteError(f"{shown(path)}: {one_line(error)}; fix that file") from None


@functools.cache
def yaml_loader() -> Any:
    """OmegaConf's rules of YAML on libyaml's parser where PyYAML has it, which is several times as fast."""
    rules = get_yaml_loader()
    if not yaml.__with_libyaml__:
        return rules

    # The parser stands first and hides the one that the rules bring along.
    class Loader(yaml.CSafeLoader, rules):  # type: ignore[misc, valid-type]
        """What OmegaConf reads as a number, a truth value or a duplicate key, read by libyaml."""

    return Loader


def one_line(error: object) -> str:
    """What an error says, without line breaks."""
    return " ".join(str(error).split())
