"""Reads the YAML files that Hydra composes: once, with libyaml, and with errors that name file and line."""

from __future__ import annotations

import copy
import functools
import os
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
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser
from omegaconf.grammar_parser import parse as parse_interpolation

from suite.errors import SuiteError, one_line
from suite.strict_yaml import Location, read_text, refuse, shown, yaml_in
from suite.yaml_objects import LineErrors


class ConfigFiles(ConfigRepository):
    """Hydra's config repository for several folders, which caches what it has read."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = [_Folder("main", str(folder)) for folder in folders]
        self.sources = [*self.folders, StructuredConfigSource("schema", "structured://")]
        self._loaded: dict[str, ConfigResult | None] = {}

    def load_config(self, config_path: str) -> ConfigResult | None:
        """A config with its defaults list, which must not be modified.

        Raises:
            SuiteError: the file is broken, or several folders have it.
        """
        if config_path not in self._loaded:
            found = [folder.file(config_path) for folder in self.folders if folder.is_config(config_path)]
            if len(found) > 1:
                raise SuiteError(
                    f"{shown(found[1])}: {shown(found[0])} has the same name; rename one of them"
                )
            try:
                self._loaded[config_path] = super().load_config(config_path)
            except ValueError as error:
                raise SuiteError(f"{shown(found[0])}: {one_line(error)}; fix that file") from None
        return self._loaded[config_path]


class ConfigCopies(ConfigFiles):
    """The same files, but every config is a copy that may be modified."""

    def __init__(self, files: ConfigFiles) -> None:
        self.folders, self.sources, self._loaded = files.folders, files.sources, files._loaded

    def load_config(self, config_path: str) -> ConfigResult | None:
        """A copy of a config with its defaults list.

        Raises:
            SuiteError: the file is broken, or several folders have it.
        """
        loaded = copy.copy(super().load_config(config_path))
        if loaded is not None:
            loaded.config = copy.deepcopy(loaded.config)
        return loaded


class OneEntry(ConfigFiles):
    """The same files, but the main config has no content except one entry of its defaults list."""

    def __init__(self, files: ConfigFiles, main_config: str, entry: InputDefault) -> None:
        self.folders, self.sources, self._loaded = files.folders, files.sources, files._loaded
        self._main_config, self._entry = main_config, entry

    def load_config(self, config_path: str) -> ConfigResult | None:
        """A config with its defaults list, which must not be modified.

        Raises:
            SuiteError: the file is broken, or several folders have it.
        """
        loaded = super().load_config(config_path)
        if loaded is not None and config_path == self._main_config:
            return replace(loaded, config=OmegaConf.create(), defaults_list=[self._entry])
        return loaded


class _Folder(FileConfigSource):
    """Hydra's config source for a folder, read with libyaml; errors name file and line."""

    def file(self, config_path: str) -> Path:
        """The file of a config."""
        return Path(self.path, self._normalize_file_name(config_path))

    def is_config(self, config_path: str) -> bool:
        """Whether the path exists: if it is not a file, reading it raises an error instead of skipping it."""
        return os.path.lexists(self.file(config_path))

    def load_config(self, config_path: str) -> ConfigResult:
        """Reads a config.

        Raises:
            SuiteError: the file cannot be read, is not valid YAML, or is not a mapping.
        """
        path = self.file(config_path)
        text = read_text(path)
        content = yaml_in(text, path, yaml_loader())
        try:
            if not isinstance(content, dict | None):
                raise ValueError(f"holds a {type(content).__name__} where keys and values are expected")
            _refuse_resolvers(path, content)
            return ConfigResult(
                config=OmegaConf.create(content or {}),
                path=self.full_path(),
                provider=self.provider,
                header=self._get_header_dict(text[:512]),
            )
        except (ValueError, OmegaConfBaseException) as error:
            raise SuiteError(f"{shown(path)}: {one_line(error)}; fix that file") from None


def _refuse_resolvers(path: Path, content: Any, location: Location = ()) -> None:
    """Refuses calls of resolvers, whose value depends on the machine or the day.

    Raises:
        SuiteError: a value calls a resolver, such as `${oc.env:HOME}`; names the line.
    """
    if isinstance(content, dict):
        for key, value in content.items():
            _refuse_resolvers(path, value, (*location, key))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            _refuse_resolvers(path, value, (*location, index))
    elif isinstance(content, str) and calls_a_resolver(content):
        refuse(
            path,
            location,
            f"{content!r} calls a resolver, which may give another value on another machine or day; "
            "write the value itself",
        )


def calls_a_resolver(text: str) -> bool:
    """Whether a text has an interpolation that calls a resolver: `${oc.env:HOME}`, `${now:%H}`."""
    if "${" not in text:
        return False
    try:
        left = [parse_interpolation(text)]
    except (OmegaConfBaseException, RecursionError):
        # It does not compose, which is reported elsewhere.
        return False
    while left:
        node = left.pop()
        if isinstance(node, OmegaConfGrammarParser.InterpolationResolverContext):
            return True
        left += getattr(node, "children", None) or []
    return False


@functools.cache
def yaml_loader() -> Any:
    """OmegaConf's YAML loader on libyaml's parser, if PyYAML has it, which is several times as fast."""
    rules = get_yaml_loader()
    # The parser precedes the rules in the MRO, so that it replaces the pure-Python one that they inherit.
    parser = (yaml.CSafeLoader,) if yaml.__with_libyaml__ else ()
    return type("Loader", (LineErrors, *parser, rules), {})
