"""Slack's message mark-up to plain text: ``blocks`` (rich text) when they render, else ``text``.

Shapes: https://api.slack.com/reference/block-kit/blocks#rich_text and https://api.slack.com/reference/surfaces/formatting
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ingest_pipeline.documents import Json
from ingest_pipeline.sources.charsets import sanitized

MAX_DEPTH = 20

_REFERENCE = re.compile(r"<([^<>|\n]+)(?:\|([^<>\n]*))?>")


@dataclass(frozen=True, slots=True)
class Names:
    """How to show what messages refer to by id."""

    users: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)

    def user(self, user_id: str) -> str:
        return "@" + self.users.get(user_id, user_id)

    def channel(self, channel_id: str) -> str:
        return "#" + self.channels.get(channel_id, channel_id)


def message_text(message: Mapping[str, Json], names: Names) -> str:
    """What the author typed, as plain text; lines of a quote begin with ``> ``."""
    blocks = message.get("blocks")
    rendered = _rich_text(blocks, names).strip() if isinstance(blocks, list) else ""
    if rendered:
        return sanitized(rendered)
    text = message.get("text")
    return sanitized(plain_text(text, names)).strip() if isinstance(text, str) else ""


def plain_text(text: str, names: Names) -> str:
    """The ``text`` field with references resolved and entities unescaped."""
    resolved = _REFERENCE.sub(lambda match: _reference(match[1], match[2] or "", names), text) if "<" in text else text
    if "&" not in resolved:
        return resolved
    return resolved.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _reference(target: str, label: str, names: Names) -> str:
    if target.startswith("@"):
        return names.user(target[1:]) if target[1:] in names.users or not label else "@" + label.lstrip("@")
    if target.startswith("#"):
        return "#" + label if label else names.channel(target[1:])
    if target.startswith("!"):
        return label or "@" + target[1:].partition("^")[0]
    return label or target


def _rich_text(blocks: list[Json], names: Names) -> str:
    parts: list[str] = []
    for block in blocks:
        if not isinstance(block, dict) or block.get("type") != "rich_text":
            return ""  # an app's layout; ``text`` holds its fallback
        parts += [_container(element, names, 0) for element in _elements(block)]
    return "\n".join(part.strip("\n") for part in parts if part.strip())


def _container(element: Mapping[str, Json], names: Names, depth: int) -> str:
    kind = element.get("type")
    if depth > MAX_DEPTH:
        return ""
    if kind == "rich_text_list":
        items = [_container(item, names, depth + 1) for item in _elements(element)]
        return "\n".join("- " + item for item in items)
    inner = "".join(
        [
            _container(child, names, depth + 1) if "elements" in child else _leaf(child, names)
            for child in _elements(element)
        ]
    )
    if kind == "rich_text_quote":
        return "\n".join("> " + line for line in inner.split("\n"))
    return inner


def _elements(element: Mapping[str, Json]) -> list[dict[str, Json]]:
    children = element.get("elements")
    return [child for child in children if isinstance(child, dict)] if isinstance(children, list) else []


def _leaf(element: Mapping[str, Json], names: Names) -> str:
    kind = element.get("type")
    renderer = _LEAVES.get(kind) if isinstance(kind, str) else None
    return renderer(element, names) if renderer is not None else _value(element, "text")


def _value(element: Mapping[str, Json], key: str) -> str:
    found = element.get(key)
    return found if isinstance(found, str) else ""


_LEAVES: dict[str, Callable[[Mapping[str, Json], Names], str]] = {
    "link": lambda leaf, names: _value(leaf, "text") or _value(leaf, "url"),
    "user": lambda leaf, names: names.user(_value(leaf, "user_id")),
    "channel": lambda leaf, names: names.channel(_value(leaf, "channel_id")),
    "broadcast": lambda leaf, names: "@" + _value(leaf, "range"),
    "usergroup": lambda leaf, names: "@" + _value(leaf, "usergroup_id"),
    "emoji": lambda leaf, names: _emoji(_value(leaf, "name"), _value(leaf, "unicode")),
    "date": lambda leaf, names: _value(leaf, "fallback"),
    "color": lambda leaf, names: _value(leaf, "value"),
}


def _emoji(name: str, code_points: str) -> str:
    try:
        return "".join(chr(int(point, 16)) for point in code_points.split("-")) if code_points else f":{name}:"
    except (ValueError, OverflowError):
        return f":{name}:"
