"""Slack's message mark-up to plain text: ``blocks`` (rich text) when they render, else ``text``.

Shapes: https://api.slack.com/reference/block-kit/blocks#rich_text and https://api.slack.com/reference/surfaces/formatting
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from ingest_pipeline.documents import Json
from ingest_pipeline.sources.charsets import sanitized

MAX_DEPTH = 20

_REFERENCE = re.compile(r"<([^<>|\n]+)(?:\|([^<>\n]*))?>")


class Element(Struct, gc=False):
    """A block or a part of one; ``text`` is a dict in blocks of apps."""

    type: str = ""
    elements: "list[Element] | None" = None
    text: Json = ""
    url: str | None = None
    user_id: str | None = None
    channel_id: str | None = None
    usergroup_id: str | None = None
    range: str | None = None
    name: str | None = None
    unicode: str | None = None
    fallback: str | None = None
    value: Json = None


@dataclass(frozen=True, slots=True)
class Names:
    """How to show what messages refer to by id."""

    users: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)

    def user(self, user_id: str) -> str:
        return "@" + self.users.get(user_id, user_id)

    def channel(self, channel_id: str) -> str:
        return "#" + self.channels.get(channel_id, channel_id)


def message_text(blocks: Sequence[Element] | None, text: str | None, names: Names) -> str:
    """What the author typed, as plain text; lines of a quote begin with ``> ``."""
    rendered = (_plain(blocks) or _rich_text(blocks, names)).strip() if blocks else ""
    if rendered:
        return sanitized(rendered)
    return sanitized(plain_text(text, names)).strip() if text else ""


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


def _rich_text(blocks: Sequence[Element], names: Names) -> str:
    parts: list[str] = []
    for block in blocks:
        if block.type != "rich_text":
            return ""  # an app's layout; ``text`` holds its fallback
        parts += [_container(element, names, 0) for element in block.elements or ()]
    return "\n".join([part.strip("\n") for part in parts if part and not part.isspace()])


def _plain(blocks: Sequence[Element]) -> str:
    """The text of blocks that hold one text and nothing else, as most do; empty for any other."""
    if len(blocks) != 1 or blocks[0].type != "rich_text" or not (parts := blocks[0].elements):
        return ""
    if len(parts) != 1 or parts[0].type != "rich_text_section" or not (leaves := parts[0].elements):
        return ""
    leaf = leaves[0]
    return leaf.text if len(leaves) == 1 and leaf.type == "text" and isinstance(leaf.text, str) else ""


def _container(element: Element, names: Names, depth: int) -> str:
    if depth > MAX_DEPTH or not element.elements:
        return ""
    if element.type == "rich_text_list":
        return "\n".join(["- " + _container(item, names, depth + 1) for item in element.elements])
    parts = [
        child.text
        if child.type == "text" and isinstance(child.text, str)
        else _leaf(child, names)
        if child.elements is None
        else _container(child, names, depth + 1)
        for child in element.elements
    ]
    inner = "".join(parts)
    if element.type == "rich_text_quote":
        return "\n".join("> " + line for line in inner.split("\n"))
    return inner


def _leaf(leaf: Element, names: Names) -> str:
    renderer = _LEAVES.get(leaf.type)
    return renderer(leaf, names) if renderer is not None else _string(leaf.text)


def _string(value: Json) -> str:
    return value if isinstance(value, str) else ""


_LEAVES: dict[str, Callable[[Element, Names], str]] = {
    "link": lambda leaf, names: _string(leaf.text) or leaf.url or "",
    "user": lambda leaf, names: names.user(leaf.user_id or ""),
    "channel": lambda leaf, names: names.channel(leaf.channel_id or ""),
    "broadcast": lambda leaf, names: "@" + (leaf.range or ""),
    "usergroup": lambda leaf, names: "@" + (leaf.usergroup_id or ""),
    "emoji": lambda leaf, names: _emoji(leaf.name or "", leaf.unicode or ""),
    "date": lambda leaf, names: leaf.fallback or "",
    "color": lambda leaf, names: _string(leaf.value),
}


def _emoji(name: str, code_points: str) -> str:
    try:
        return "".join(chr(int(point, 16)) for point in code_points.split("-")) if code_points else f":{name}:"
    except (ValueError, OverflowError):
        return f":{name}:"
