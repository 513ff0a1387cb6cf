"""YAML as this product reads it: safe types only, a key given twice refused instead of the last one winning.

`StrictLoader` is for files of our own; `read_mapping` for what people upload: bounded in size and depth, and without
anchors, whose repetition can make a small text huge.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import yaml

MAX_BYTES = 200 * 1024
MAX_DEPTH = 12  # a definition needs four


class UnreadableYAML(ValueError):
    """A text cannot be used. The message says what to do; `line` counts from 1, 0 where none is to blame."""

    def __init__(self, message: str, line: int = 0) -> None:
        self.message, self.line = message, line
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Mapping:
    """What a text says, and on which line each of its keys stands."""

    values: dict[str, Any]
    lines: dict[str, int]


class StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # the C parser where built
    """yaml.safe_load, except for keys given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping. Raises ConstructorError for a repeated key."""
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key “{key}” is given twice; keep one", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)  # type: ignore[no-any-return] # untyped base


def read_mapping(text: str) -> Mapping:
    """Read one mapping from a text that anybody may have written. Raises UnreadableYAML."""
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise UnreadableYAML(f"At most {MAX_BYTES // 1024} KB fit here.")
    try:
        _refuse_anchors_and_depth(text)
        loader = StrictLoader(text)
        try:
            node = loader.get_single_node()
            if not isinstance(node, yaml.MappingNode):
                raise UnreadableYAML("Write keys with values: name: …")
            lines = {str(key.value): key.start_mark.line + 1 for key, _ in node.value}
            values = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UnreadableYAML(_sentence(str(error.problem or error)), mark.line + 1 if mark else 0) from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, UnreadableYAML):
            raise
        # A number of thousands of digits, a character that no YAML has.
        raise UnreadableYAML("This is not YAML that can be read.") from error
    return Mapping({str(key): value for key, value in values.items()}, lines)


def _refuse_anchors_and_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=StrictLoader):
        if getattr(event, "anchor", None) is not None:
            raise UnreadableYAML("Write values out: anchors (&) and aliases (*) are not read here.", _line(event))
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise UnreadableYAML(f"At most {MAX_DEPTH} levels fit into each other.", _line(event))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


def _sentence(problem: str) -> str:
    text = problem.strip().rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."
