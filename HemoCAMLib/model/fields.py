"""Reading one field of a model's metadata: right type, right range, or refused by its full name. Host side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from HemoCAMLib.errors import ModelRefused

MAXIMUM_TEXT = 20_000


@dataclass(frozen=True)
class Fields:
    """One table of the metadata.

    Attributes:
        values: the table's content.
        path: where it stands, such as ``hemocam.window``; empty for the whole file.
    """

    values: Mapping[str, Any]
    path: str = ""

    def table(self, name: str) -> Fields:
        """A table inside this one."""
        value = self._get(name)
        if not isinstance(value, Mapping):
            raise self._wrong_type(name, "a table", value)
        return Fields(value, self.name_of(name))

    def text(self, name: str, *, optional: bool = False, one_line: bool = False) -> str:
        """Text, not empty unless optional; one line without control characters where asked."""
        if optional and name not in self.values:
            return ""
        value = self._get(name)
        if not isinstance(value, str):
            raise self._wrong_type(name, "text", value)
        allowed = "" if one_line else "\n\t"
        if len(value) > MAXIMUM_TEXT or not all(character.isprintable() or character in allowed for character in value):
            raise self.wrong(name, "is too long or holds control characters")
        if not value.strip() and not optional:
            raise self.wrong(name, "is empty")
        return value

    def number(self, name: str, lowest: float, highest: float) -> float:
        """A finite number in [lowest, highest]."""
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong_type(name, "a number", value)
        if not (math.isfinite(value) and lowest <= value <= highest):
            raise self.wrong(name, f"must lie between {lowest:g} and {highest:g}, it is {str(value)[:40]}")
        return float(value)

    def count(self, name: str, lowest: int, highest: int) -> int:
        """A whole number in [lowest, highest]."""
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong_type(name, "a whole number", value)
        if not lowest <= value <= highest:
            raise self.wrong(name, f"must lie between {lowest} and {highest}, it is {str(value)[:40]}")
        return value

    def items(self, name: str) -> list[Any]:
        """A list."""
        value = self._get(name)
        if not isinstance(value, list):
            raise self._wrong_type(name, "a list", value)
        return value

    def raw(self, name: str) -> Any:
        """The value as it stands."""
        return self._get(name)

    def only(self, known: Iterable[str]) -> None:
        """Refuses names that have no meaning here: a misspelt threshold must not be passed over."""
        unknown = sorted(str(name)[:60] for name in self.values if name not in set(known))
        if unknown:
            raise ModelRefused(
                "MODEL_METADATA_UNKNOWN",
                f"The model's description holds a field that is not known: {self.name_of(unknown[0])}.",
                "Update HemoCAM, or ask whoever made the model for a corrected file.",
                f"unknown fields {unknown[:20]} in {self.path or 'metadata.json'}",
            )

    def name_of(self, name: str) -> str:
        """The full name of a field."""
        return f"{self.path}.{name}" if self.path else name

    def wrong(self, name: str, why: str) -> ModelRefused:
        """The refusal of a value that has the right type and makes no sense."""
        return ModelRefused(
            "MODEL_METADATA_VALUE",
            f"The model's description cannot be used: {self.name_of(name)} {why}.",
            "Ask whoever made the model for a corrected file.",
        )

    def _get(self, name: str) -> Any:
        if name not in self.values:
            raise ModelRefused(
                "MODEL_METADATA_MISSING",
                f"The model's description lacks the field {self.name_of(name)}.",
                "Ask whoever made the model for a complete file.",
            )
        return self.values[name]

    def _wrong_type(self, name: str, expected: str, value: object) -> ModelRefused:
        return ModelRefused(
            "MODEL_METADATA_TYPE",
            f"The model's description cannot be used: {self.name_of(name)} must be {expected}.",
            "Ask whoever made the model for a corrected file.",
            f"it is a {type(value).__name__}: {str(value)[:80]!r}",
        )
