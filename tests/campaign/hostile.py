"""Values that nobody means well with: for arguments, overrides, fields of records and tokens of files."""

from __future__ import annotations

from typing import Any

MARKUP = "<script>campaign()</script>"
"""Never stands in a page as it is."""

TEXTS = (
    *("", " ", "x", "-", "--", "=", "null", "~", "true", "no", "None", "nan", ".inf", "-1", "0", "3"),
    *("99999999999999999999999", "0x1f", "1_000", "[]", "{}", "[1, 2", "{a: 1}", "'", '"', "a'b", "a,b"),
    *("../../escaped", "/../../escaped", "/etc/passwd", "a/b", ".", "..", "~", "~root", "C:\\x", "\\"),
    *("${oc.env:HOME}", "${now:%Y}", "${hydra:runtime.cwd}", "${student}", "${a", "???"),
    *("\x1b[2J\x1b[31mred", "\x07", "a\nb", "a\rb", "a\tb", "a\0b", "\u202eoverride", "\ud7ff", "é", "数"),
    *("[bold]rich[/bold]", "[/]", "| pipe |", "`code`", "](link)", MARKUP, "=cmd()", "; rm -rf ."),
    *("1e999", "a=b", "%s%n", "$HOME", "!!python/name:os.system", "🙂", "\x85", "$(id)", "`id`"),
    *("x" * 300, "x" * 5000, "[" * 60, "a." * 200, "0" * 400),
)
"""As arguments and scalars."""

JSON_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 3, 1.5, 10**30, -(10**30), "", [], {}, [[]], [None], {"": None}, {"a": {"b": [1]}}),
    *("NaN", "Infinity", ["x"] * 50, {str(number): number for number in range(50)}),
)
"""As fields of a document; `TEXTS` come on top."""

YAML_TOKENS = (
    *("!!float [1]", "!!map [a]", "!!int x", "!!binary x", "!!set {a}", "!!omap [a]", "!!timestamp x"),
    *("!!python/object/apply:os.system [id]", "!unknown x", "&a [*a]", "&a {<<: *a}", "*missing", "<<: x"),
    *("|", ">", "- ", "? ", ": ", "{", "}", "[", "]", "%YAML 9.9\n---\n", "---\n", "...\n", "\t", "@"),
    *("2020-13-45", "0o9", "1:30:99", "=", "<<", "0b2", "1e1000", ".nan", "2026-01-01"),
    *("!!null x", "? [a]: b", "`", "#", "12345678901234567890"),
    *("[" * 400, "{a: " * 400, "- " * 400, "\n" * 300, "\x00", "\ufeff", "\x1b[31m", "\u2028", "\xff\xfe"),
    *TEXTS,
)
"""In place of a piece of a YAML, CSV or JSON file."""
