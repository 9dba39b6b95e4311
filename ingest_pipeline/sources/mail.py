"""One mail to one item: who sent it, when, and what they themselves wrote. Shared by all mail readers."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ingest_pipeline.documents import Identifier, Item, Json, Person, Record, Rejected, Role, Segment, Skipped
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.charsets import one_line
from ingest_pipeline.sources.mail_dates import sent_at
from ingest_pipeline.sources.mime import Body, Headers, Message, UnreadableMail, decode_header
from ingest_pipeline.sources.replies import Reply, split_reply
from ingest_pipeline.sources.signatures import signature_record

MAX_SUBJECT_CHARS = 300
MAX_NAME_CHARS = 200
MAX_ADDRESS_CHARS = 2_000
"""Of a From header, which names one person; the search for an address takes quadratic time."""

# As most are written, without anything that needs decoding: Ann Lee <ann@example.org>, "Lee, Ann" <ann@example.org>.
_PLAIN_MAILBOX = re.compile(
    r"((?!\s)[\w .-]*?|\"[\w ,.-]*\")\s*<([\w+=-]+(?:\.[\w+=-]+)*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)>"
)
_QUOTED_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_COMMENT = re.compile(r"\(([^()]*)\)")
_ANGLE_ADDRESS = re.compile(r"<\s*([^<>\s@,]+@[^<>\s@,]+)\s*>")
_BARE_ADDRESS = re.compile(r"[^<>\s@,;:()\"]+@[^<>\s@,;:()\"]+")
_MESSAGE_ID = re.compile(r"<\s*([^<>\s]+)\s*>")
_NO_PERSON = re.compile(
    r"(?:.*[-_.+])?(?:no|do-?not)[-_.]?reply(?:[-_.+\d].*)?|mailer-daemon|postmaster|(?:.*[-_.])?bounces?(?:[-_.+].*)?",
)
_GMAIL_LABELS = {
    "chat_message": "chat chats",
    "spam": "spam pourriel correo¦no¦deseado posta¦indesiderata lixo¦eletrônico lixo skräppost søppelpost roskaposti"
    " спам 迷惑メール 垃圾邮件 垃圾郵件 스팸함",
    "trash": "trash bin papierkorb corbeille papelera cestino lixeira prullenbak papirkurv papirkorg papperskorgen"
    " kosz roskakori корзина ゴミ箱 已删除邮件 垃圾桶 휴지통",
    "draft": "drafts entwürfe brouillons borradores bozze rascunhos concepten kladder utkast wersje¦robocze luonnokset"
    " черновики 下書き 草稿 임시보관함",
}
_LABELS = {name.replace("¦", " "): reason for reason, names in _GMAIL_LABELS.items() for name in names.split()}
"""Gmail's own labels, which Takeout writes in the account's language, of what is no mail that someone sent."""

_NO_PERSON_WORDS = ("reply", "daemon", "postmaster", "bounce")
"""One of them is in every name that _NO_PERSON matches."""

_LIST_HEADERS = ("list-id", "list-post", "list-unsubscribe", "mailing-list", "x-mailing-list")


@dataclass(frozen=True, slots=True)
class Location:
    """Where a mail was found. ``envelope`` holds a date of its arrival: the raw From-line of an mbox, or an IMAP
    server's date. ``envelope_name`` is that date's name as a source."""

    file: str
    position: str
    envelope: bytes = b""
    envelope_name: str = "from_line"
    metadata: Mapping[str, Json] | None = None


def read_mail(data: bytes, location: Location, options: ReadOptions, now: datetime) -> tuple[Item, ...]:
    """The mail as a Record about its sender, or why it is none, then perhaps a Record of the signature below it.

    ``now`` is what a date may not be after.
    Sources of the rules: RFC 3834 (automatic mail), RFC 2919 and 2369 (lists), RFC 5322 (addresses, ids).
    """
    message = Message(data)
    sender = sender_of(message.headers)
    skip = _automatic(message.headers) or (sender and _not_of_a_customer(sender[1], options))
    if skip:
        return (Skipped(location.file, skip),)
    if sender is None:
        return (Rejected(location.file, location.position, "no sender address"),)
    if message.encrypted():
        return (Rejected(location.file, location.position, "unreadable: encrypted"),)
    try:
        body = message.body()
    except UnreadableMail as error:
        return (Rejected(location.file, location.position, str(error)),)
    name, address = sender
    reply = split_reply(body.text, name or "")
    is_list = _is_list_mail(message.headers)
    person = Person(Identifier("email", address), namespace="email", name=name, claims=not is_list)
    record = _record(message.headers, person, body, reply, location, options, now)
    item = record if reply.text.strip() else Skipped(location.file, _why_empty(reply, body))
    signature = signature_record(reply.signature, record, address) if reply.signature else None
    return (item,) if signature is None else (item, signature)


def sender_of(headers: Headers) -> tuple[str | None, str] | None:
    """``(display name, address in lower case)`` of From, else Sender; None when neither holds an address.

    The raw header is taken apart before encoded words are decoded: a decoded name may hold ``<`` and ``,``.
    """
    for header in ("from", "sender"):
        raw = headers.get(header)
        # Lists that rewrite From for DMARC keep the author here.
        original = headers.get("x-original-from") if header == "from" else ""
        for value in (original, raw):
            found = parse_address(value)
            if found is not None:
                return found
    return None


def parse_address(raw: str) -> tuple[str | None, str] | None:
    """The first mailbox of a raw address header as ``(name, address)``; None when it holds no address."""
    if "@" not in raw:
        return None
    plain = _PLAIN_MAILBOX.fullmatch(raw) if raw.isascii() else None
    if plain is not None:
        return " ".join(plain[1].strip('"').split())[:MAX_NAME_CHARS] or None, plain[2].lower()
    raw = raw[:MAX_ADDRESS_CHARS]
    blanked = _QUOTED_STRING.sub(lambda match: " " * len(match[0]), raw)
    end = len(blanked)
    at = blanked.find("@")
    if at >= 0 and "," in blanked:
        # The comma of "Lee, Ann <ann@example.org>" stands before the address, that between two mailboxes behind it.
        end = blanked.find(",", at) if "," in blanked[at:] else end
    return _mailbox(raw[:end], blanked[:end])


def _mailbox(raw: str, blanked: str) -> tuple[str | None, str] | None:
    match = _ANGLE_ADDRESS.search(blanked)
    if match is not None:
        address, name = match[1], raw[: match.start()]
    else:
        bare = _BARE_ADDRESS.search(_COMMENT.sub(" ", blanked)) or _BARE_ADDRESS.search(raw)
        if bare is None:
            return None
        comment = _COMMENT.search(raw)
        address, name = bare[0], comment[1] if comment is not None else ""
    # Control characters in an address are damage, and a database takes no NUL.
    address = "".join(filter(str.isprintable, address.strip(".'\"").lower()))
    local, _, domain = address.partition("@")
    return (clean_name(name), address) if local and domain else None


def clean_name(raw: str) -> str | None:
    """A display name for people: decoded, unquoted, without direction marks; None when it is an address or empty."""
    name = decode_header(re.sub(r"\\(.)", r"\1", raw.strip().strip('"')))
    name = one_line(name).strip("'\"<> ")[:MAX_NAME_CHARS]
    return name if name and "@" not in name else None


def _automatic(headers: Headers) -> str | None:
    """The reason to skip mail that a program sent."""
    submitted = headers.get("auto-submitted").partition(";")[0].strip().lower()
    if (
        submitted not in {"", "no"}
        or headers.get("precedence").lower() in {"junk", "auto_reply", "auto-reply"}
        or headers.content_type == "multipart/report"
        or headers.get("return-path").replace(" ", "") == "<>"
        or any(name in headers for name in ("x-autoreply", "x-autorespond", "x-autoresponder"))
    ):
        return "automatic_mail"
    if "x-gmail-labels" not in headers:
        return None
    labels = decode_header(headers.get("x-gmail-labels")).replace('"', "").split(",")
    return next((_LABELS[name] for name in (label.strip().casefold() for label in labels) if name in _LABELS), None)


def _not_of_a_customer(address: str, options: ReadOptions) -> str | None:
    """The reason to skip the mail of a colleague or of an address that nobody writes from."""
    if options.is_internal(address):
        return "internal_sender"
    local = address.partition("@")[0]
    if not any(word in local for word in _NO_PERSON_WORDS):
        return None
    return "automatic_mail" if _NO_PERSON.fullmatch(local) else None


def _is_list_mail(headers: Headers) -> bool:
    return any(name in headers for name in _LIST_HEADERS) or headers.get("precedence").lower() in {"bulk", "list"}


def _why_empty(reply: Reply, body: Body) -> str:
    if reply.quoted or reply.forwarded or body.forwarded:
        return "only_quoted_text"
    return "empty"


def _record(
    headers: Headers,
    person: Person,
    body: Body,
    reply: Reply,
    location: Location,
    options: ReadOptions,
    now: datetime,
) -> Record:
    sent = sent_at(headers, location.envelope, options.timezone, now, location.envelope_name)
    message_id = _first_id(headers.get("message-id"))
    digest = hashlib.sha256(reply.text.encode()).hexdigest()
    if message_id:
        native_id = f"{message_id}:{digest[:12]}"
    else:
        moment = sent.moment.isoformat() if sent.moment else ""
        unique = f"{person.key.value}\n{moment}\n{headers.get('subject')}\n{digest}"
        native_id = "content:" + hashlib.sha256(unique.encode("utf-8", "replace")).hexdigest()[:32]
    metadata: dict[str, Json] = {
        "message_id": message_id,
        "thread": _thread(headers, message_id),
        "gmail_thread": headers.get("x-gm-thrid"),
        "subject": decode_header(headers.get("subject"))[:MAX_SUBJECT_CHARS],
        "date_source": sent.source,
        "list": not person.claims,
        "to_count": sum(headers.get(name).count("@") for name in ("to", "cc")),
        **(location.metadata or {}),
        "charset": body.charset,
        "cleaning": _cleaning(reply, body),
        "unmarked_quote_lines": reply.unmarked_lines or None,
        "warnings": [*sent.warnings, *body.warnings],
    }
    segment = Segment(0, len(reply.text), Role.SUBJECT, person.key.value, message_id or native_id, sent.moment)
    return Record(
        origin="mail",
        kind="mail",
        native_id=native_id,
        subjects=(person,),
        text=reply.text,
        file=location.file,
        position=location.position,
        segments=(segment,),
        occurred_at=sent.moment,
        metadata={key: value for key, value in metadata.items() if value not in (None, "", [])},
    )


def _cleaning(reply: Reply, body: Body) -> list[str]:
    """What was done to the mail's body to get at the sender's own words."""
    steps = (
        ("markup_removed", body.markup),
        ("quoted_text_left_out", reply.quoted),
        ("forwarded_text_left_out", reply.forwarded or body.forwarded),
        ("signature_split_off", bool(reply.signature)),
    )
    return [step for step, done in steps if done]


def _first_id(raw: str) -> str:
    match = _MESSAGE_ID.search(raw)
    return match[1] if match is not None else raw.strip("<> \t").partition(" ")[0]


def _thread(headers: Headers, message_id: str) -> str:
    """The id of the thread's first mail as far as known, or Gmail's own thread number."""
    for name in ("references", "in-reply-to"):
        match = _MESSAGE_ID.search(headers.get(name))
        if match is not None:
            return match[1]
    gmail = headers.get("x-gm-thrid")
    return message_id or (f"gmail:{gmail}" if gmail else "")
