"""Mails as bytes, and the files that hold them: an mbox (mboxrd), a Maildir and single ``.eml`` files.

The bytes are put together here: what the standard library's generator writes differs between Python versions.
"""

import base64
import html
import quopri
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ingest_pipeline.demo.chance import Chance
from ingest_pipeline.demo.people import STAFF_DOMAIN, Mail, Person, staff, staff_email

SUPPORT = f"Northwind Support <support@{STAFF_DOMAIN}>"
LIST_ID = "OpenLogistics users <ol-users.lists.openlogistics.example>"

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FROM = re.compile(rb"^(>*From )", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Message:
    """A mail as it will be written. ``text`` is the whole body, quotes and signature included.

    ``signature`` is the one in it that says more than the sender's name.
    """

    at: datetime
    sender: str
    to: str
    subject: str
    id: str
    text: str
    html: bool = False
    charset: str = "utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    signature: str = ""

    @property
    def address(self) -> str:
        """The sender's bare address."""
        return self.sender.rpartition("<")[2].rstrip(">")

    def to_bytes(self) -> bytes:
        """The mail with ``\\n`` line ends, as it stands in files on Unix."""
        kind, text = ("html", self.text) if self.html else ("plain", self.text + "\n")
        encoding, body = _transfer(text, self.charset)
        name, address = self.sender.rpartition(" <")[0], self.address
        headers = {
            "Received": f"from mx.{address.partition('@')[2]} by mail.{STAFF_DOMAIN}; {mail_date(self.at)}",
            "From": f"{encoded(name)} <{address}>" if name else address,
            "To": self.to,
            "Subject": encoded(self.subject),
            "Date": mail_date(self.at),
            "Message-ID": self.id,
            "MIME-Version": "1.0",
            "Content-Type": f"text/{kind}; charset={self.charset}",
            "Content-Transfer-Encoding": encoding,
            **self.headers,
        }
        head = "".join(f"{key}: {value}\n" for key, value in headers.items() if value)
        return head.encode("ascii") + b"\n" + body


def mail_date(moment: datetime) -> str:
    """A moment in UTC as mail headers write it; independent of the locale."""
    day = f"{_WEEKDAYS[moment.weekday()]}, {moment.day} {_MONTHS[moment.month - 1]} {moment.year}"
    return f"{day} {moment:%H:%M:%S} +0000"


def encoded(text: str) -> str:
    """Header text as RFC 2047 encoded words of at most 75 characters, plain when it is ASCII."""
    if text.isascii():
        return text
    words, piece = [], ""
    for char in text:
        if len((piece + char).encode()) > 42:
            words.append(piece)
            piece = ""
        piece += char
    words.append(piece)
    return "\n ".join(f"=?utf-8?b?{base64.b64encode(word.encode()).decode()}?=" for word in words)


def person_message(person: Person, mail: Mail, number: int, chance: Chance) -> Message:
    """A mail of the cast's as its mailer wrote it: with greeting lines kept, signature, and what it quotes."""
    sender = mail.sender or person.email
    ident = f"<{number:04d}.{int(mail.at.timestamp())}@{sender.partition('@')[2]}>"
    headers = {}
    if mail.quoted:
        headers = {"In-Reply-To": staff_id(ident), "References": staff_id(ident)}
    if mail.list:
        headers |= {
            "List-Id": LIST_ID,
            "Precedence": "list",
            "List-Post": "<mailto:ol-users@lists.openlogistics.example>",
        }
    below = signature(person, chance)
    body = f"{mail.text}\n\n{below}"
    return Message(
        at=mail.at,
        sender=f"{person.name} <{sender}>",
        to="ol-users@lists.openlogistics.example" if mail.list else SUPPORT,
        subject=mail.subject,
        id=ident,
        text=html_body(body, mail) if mail.html else with_quote(body, mail),
        html=mail.html,
        charset=mail.charset,
        headers=headers,
        signature=below if below.startswith("-- ") and below.count("\n") > 1 else "",
    )


def staff_id(reply: str) -> str:
    """The id of the staff mail that the mail ``reply`` answers."""
    return f"<re.{reply[1:].partition('@')[0]}@{STAFF_DOMAIN}>"


def staff_message(person: Person, mail: Mail, reply: Message) -> Message:
    """The mail of a staff member that a person's mail quotes."""
    return Message(
        at=_quoted_at(mail),
        sender=f"{staff()[mail.by]} <{staff_email(mail.by)}>",
        to=f"<{reply.address}>",
        subject=mail.subject,
        id=staff_id(reply.id),
        text=mail.quoted,
    )


def signature(person: Person, chance: Chance) -> str:
    """How the person ends mails, always in the same way. It names job and company only when these never change."""
    settled = not {"company", "job_title"} & {each.key for each in person.never} and person.title
    lines = [person.latin_name, *([f"{person.title}, {person.company}"] if settled else [])]
    if person.phone and chance.maybe(0.6):
        lines.append(f"Tel. {person.phone}")
    if chance.maybe(0.6):
        return "\n".join(["-- ", *lines])
    return "\n".join([chance.pick(("Best regards,", "Kind regards,", "Regards,")), person.given])


def with_quote(body: str, mail: Mail) -> str:
    """The own text with the quoted or forwarded mail below it, or above it for bottom-posters."""
    if mail.forwarded:
        return f"{body}\n\n---------- Forwarded message ---------\n{mail.forwarded}"
    if not mail.quoted:
        return body
    if mail.subject.startswith("AW:"):
        head = f"Von: {staff()[mail.by]} <{staff_email(mail.by)}>\nGesendet: {_quoted_at(mail):%d.%m.%Y %H:%M}"
        return f"{body}\n\n-----Ursprüngliche Nachricht-----\n{head}\nBetreff: {mail.subject[4:]}\n\n{mail.quoted}"
    marked = "\n".join(f"> {line}".rstrip() for line in mail.quoted.split("\n"))
    quote = f"{_attribution(mail)}\n{marked}"
    return f"{quote}\n\n{body}" if mail.style == "bottom" else f"{body}\n\n{quote}"


def html_body(body: str, mail: Mail) -> str:
    """The same as an HTML-only mail, as a webmail client writes it."""
    parts = [f"<p>{_escaped(part)}</p>" for part in body.split("\n\n")]
    if mail.quoted:
        quoted = "".join(f"<p>{_escaped(part)}</p>" for part in mail.quoted.split("\n\n"))
        attribution = _escaped(_attribution(mail))
        parts.append(
            f'<div class="gmail_quote"><div class="gmail_attr">{attribution}<br></div>'
            f'<blockquote class="gmail_quote" style="margin:0 0 0 .8ex">{quoted}</blockquote></div>'
        )
    style = "<style>p { font-family: Verdana; } .note { color: #666; }</style>"
    return f"<html><head>{style}</head><body>{''.join(parts)}</body></html>\n"


def mbox_entry(message: Message) -> bytes:
    """The mail as it stands in an mbox of the mboxrd kind."""
    at = message.at
    day = f"{_WEEKDAYS[at.weekday()]} {_MONTHS[at.month - 1]} {at.day:2d} {at:%H:%M:%S} {at.year}"
    escaped = _FROM.sub(rb">\1", message.to_bytes())
    return f"From {message.address} {day}\n".encode() + escaped + b"\n"


def maildir_name(message: Message, number: int, folder: str) -> str:
    """A file name in the Maildir's ``cur`` (seen, so with a flag) or ``new``."""
    name = f"{int(message.at.timestamp())}.M{number:06d}P7.mail.northwind"
    return f"email/archive/{folder}/{name}{':2,S' if folder == 'cur' else ''}"


def _attribution(mail: Mail) -> str:
    at = _quoted_at(mail)
    return f"On {mail_date(at)[:-9]}, {staff()[mail.by]} <{staff_email(mail.by)}> wrote:"


def _quoted_at(mail: Mail) -> datetime:
    return mail.at - timedelta(hours=3 + len(mail.quoted) % 17, minutes=len(mail.text) % 60)


def _escaped(text: str) -> str:
    return html.escape(text, quote=False).replace("\n", "<br>")


def _transfer(text: str, charset: str) -> tuple[str, bytes]:
    """(transfer encoding, encoded body); base64 for charsets that are neither ASCII nor Latin."""
    raw = text.encode(charset)
    if raw.isascii() and all(len(line) < 900 for line in raw.split(b"\n")):
        return "7bit", raw
    if charset == "iso-8859-7" or sum(byte > 127 for byte in raw) * 4 > len(raw):
        return "base64", base64.encodebytes(raw)
    return "quoted-printable", quopri.encodestring(raw)
