"""Who and what a Slack export's messages refer to: its users, its conversations, its team."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from msgspec import Struct, structs

from ingest_pipeline.documents import Identifier, Json, Person, Rejected, Role
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.archives import Archive
from ingest_pipeline.sources.base import ReadOptions, SourceFile
from ingest_pipeline.sources.charsets import one_line, sanitized
from ingest_pipeline.sources.columns import FREE_MAIL
from ingest_pipeline.sources.conversation import FUTURE_SLACK
from ingest_pipeline.sources.json_stream import Broken, Kind, NotJson, parse_list
from ingest_pipeline.sources.slack_text import Names

MAX_USERS_BYTES = 200_000_000
LISTS = {"channels.json": "channel", "groups.json": "group", "dms.json": "dm", "mpims.json": "mpim"}


class Profile(Struct, gc=False):
    real_name: str | None = None
    display_name: str | None = None
    name: str | None = None
    email: str | None = None
    team: str | None = None


@dataclass(frozen=True, slots=True)
class User:
    id: str
    team: str
    name: str
    email: str = ""
    is_bot: bool = False
    role: Role = Role.OTHER


@dataclass(frozen=True, slots=True)
class Conversation:
    id: str
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Workspace:
    """What messages refer to. Held in memory as a whole; the messages are not. Authors not listed are added."""

    team: str
    users: dict[str, User]
    conversations: Mapping[str, Conversation]
    names: Names
    options: ReadOptions
    latest: datetime


def load_list(
    file: SourceFile, archive: Archive, member: str, limit: int, kind: type[Kind]
) -> list[Kind | Broken] | Rejected:
    """The member's JSON list, or why it cannot be used."""
    try:
        if archive.size(member) > limit:
            return Rejected(file.name, member, f"larger than {limit} bytes")
        with archive.open(member) as stream:
            return parse_list(stream.read(), kind)
    except UnreadableFile:
        return Rejected(file.name, member, "this member of the zip is damaged")
    except NotJson as error:
        return Rejected(file.name, member, str(error))


def read_workspace(
    file: SourceFile, archive: Archive, lists: Mapping[str, str], options: ReadOptions, problems: list[Rejected]
) -> Workspace:
    def entries(name: str) -> list[dict[str, Json]]:
        if name not in lists:
            return []
        loaded = load_list(file, archive, lists[name], MAX_USERS_BYTES, dict)
        if isinstance(loaded, Rejected):
            problems.append(loaded)
            return []
        return [entry for entry in loaded if isinstance(entry, dict) and isinstance(entry.get("id"), str)]

    raw_users = entries("users.json")
    teams = Counter(team for team in (_text(entry, "team_id") for entry in raw_users) if team)
    team = teams.most_common(1)[0][0] if teams else options.workspace or "unknown"
    options = replace(options, internal_domains=options.internal_domains | _admin_domains(raw_users))
    users = {entry["id"]: _user(entry, team, options) for entry in raw_users}
    users |= {user.id: user for user in users.values()}
    conversations: dict[str, Conversation] = {}
    for list_name, kind in LISTS.items():
        for entry in entries(list_name):
            # Folders are named after the conversation, direct messages after their id.
            name = _text(entry, "name") or entry["id"]
            conversations[name] = Conversation(entry["id"], name, kind)
    names = Names(
        {user.id: user.name for user in users.values()},
        {conversation.id: conversation.name for conversation in conversations.values()},
    )
    return Workspace(team, users, conversations, names, options, datetime.now(UTC) + FUTURE_SLACK)


def _admin_domains(users: list[dict[str, Json]]) -> set[str]:
    """Mail domains of the workspace's owners and administrators: it is their company's."""
    profiles = [user.get("profile") for user in users if user.get("is_admin") or user.get("is_owner")]
    emails = [_text(profile, "email").lower() for profile in profiles if isinstance(profile, dict)]
    return {domain for _, at, domain in (email.rpartition("@") for email in emails) if at and domain} - FREE_MAIL


def _user(entry: Mapping[str, Json], team: str, options: ReadOptions) -> User:
    profile = entry.get("profile")
    profile = profile if isinstance(profile, dict) else {}
    name = (
        _text(entry, "real_name")
        or _text(profile, "real_name")
        or _text(profile, "display_name")
        or _text(entry, "name")
        or _text(entry, "id")
    )
    email = _text(profile, "email").lower()
    name = one_line(name)
    is_staff = options.is_internal(email) if "@" in email else options.is_staff(_text(entry, "id"), name)
    return User(
        id=_text(entry, "id"),
        team=_text(entry, "team_id") or team,
        name=name,
        email=email if "@" in email else "",
        is_bot=bool(entry.get("is_bot")) or entry.get("id") == "USLACKBOT",
        role=Role.STAFF if is_staff else Role.OTHER,
    )


def _text(entry: Mapping[str, Json], key: str) -> str:
    value = entry.get(key)
    return sanitized(value.strip()) if isinstance(value, str) else ""


def unlisted(user_id: str, team: str | None, profile: Profile | None, workspace: Workspace) -> User:
    """An author whom users.json does not hold: a guest of a shared channel, or a removed account."""
    described = structs.asdict(profile) if profile else {}
    team = team or _text(described, "team") or workspace.team
    user = _user({**described, "id": user_id, "team_id": team, "profile": described}, team, workspace.options)
    workspace.users[user_id] = workspace.users[user.id] = user
    return user


def person_of(user: User) -> Person:
    return Person(
        key=Identifier("slack", f"{user.team}/{user.id}"),
        namespace=f"slack:{user.team}",
        name=user.name if user.name != user.id else None,
        identifiers=(Identifier("email", user.email),) if user.email else (),
    )
