"""Writes the inbox of a made-up company, always the same for a seed, and says what a sync of it must find.

The company is Northwind (``internal_domains={"northwind.example"}``), which sells delivery planning software. All
domains end in ``.example`` (RFC 2606); telephone numbers are from ranges that regulators keep for fiction.
"""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from ingest_pipeline.demo import crm_files, mail_files, noise, slack_file
from ingest_pipeline.demo.answers import AnswerKey, FileAnswer, PersonAnswer
from ingest_pipeline.demo.chance import Chance
from ingest_pipeline.demo.invent import Inventor
from ingest_pipeline.demo.people import Person, staff, staff_email, story_people
from ingest_pipeline.sources import folder_options

ANSWER_KEY = "answer_key.json"
_OPTIONS = (
    b"# Staff of this domain write mails and messages but get no profile.\ninternal_domains: [northwind.example]\n"
)
MBOX = "email/support.mbox"
SHARED = "email:info@hofladen-krause.example"
"""Two contacts of the CRM have this address."""


@dataclass(slots=True)
class _Tally:
    """What reading each file gives, counted while it is written."""

    records: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def answers(self) -> list[FileAnswer]:
        names = sorted({*self.records, *self.rejected, *self.skipped})
        return [FileAnswer(n, self.records[n], self.rejected[n], dict(self.skipped[n])) for n in names]


def generate(target: Path, seed: int = 7, people: int = 64) -> AnswerKey:
    """Writes ``crm/``, ``email/``, ``chat/`` and the answer key into ``target``; gives the key.

    people: how many profiles; the first 26 have stories of their own, the others are made from parts. Files that
    are there with the same bytes are not touched; those of an earlier answer key that are no longer part are removed.
    """
    cast = make_cast(seed, people)
    files: dict[str, bytes] = {}
    tally = _Tally()
    native: dict[str, list[str]] = {person.slug: [] for person in cast}
    crm, crm_documents = _crm(cast, files, native)
    mails = _mails(cast, files, tally, seed)
    chats = _chats(cast, files, tally, native)
    key = AnswerKey(
        seed=seed,
        profiles=len(cast),
        documents={"crm": crm_documents, "email": mails, "chat": chats},
        people=tuple(_answer(person, native[person.slug]) for person in cast),
        files=(*crm, *tally.answers()),
        ambiguous=(SHARED,) if _is_shared(cast) else (),
        nobody=_nobody(cast),
    )
    files[ANSWER_KEY] = key.to_json().encode()
    files |= {f"{folder}/{folder_options.NAME}": _OPTIONS for folder in ("crm", "email", "chat")}
    _save(target, files)
    return key


def make_cast(seed: int, people: int) -> list[Person]:
    """The people of an inbox, those with stories first."""
    stories = story_people()[:people]
    return [*stories, *Inventor(seed).people(people - len(stories))]


def _crm(cast: list[Person], files: dict[str, bytes], native: dict[str, list[str]]) -> tuple[list[FileAnswer], int]:
    writer = crm_files.CrmWriter()
    for person in cast:
        writer.person(person)
    further = noise.spoil_crm(writer, cast)
    for key, ident in writer.ids.items():
        kind, _, slug = key.partition(":")
        if slug in native:
            native[slug].append(f"hubspot:{ident}" if kind == "hubspot" else f"salesforce:{crm_files.ORG}/{ident}")
    skipped = {**noise.CRM_SKIPPED, "Account": {"lookup_table": sum(key.startswith("account:") for key in writer.ids)}}
    for table in crm_files.COLUMNS:
        files[crm_files.table_path(table)] = (crm_files.header(table) + writer.flush(table)).encode()
    answers = crm_files.crm_answers(writer, noise.CRM_REJECTED, skipped)
    return answers, sum(writer.records.values()) + sum(further.values())


def _mails(cast: list[Person], files: dict[str, bytes], tally: _Tally, seed: int) -> int:
    """Adds the mail files; gives the number of documents: a mail in two files is one, and a signature below many."""
    boxed: list[tuple[mail_files.Message, str, str]] = []
    for person in cast:
        for number, mail in enumerate(person.mails):
            message = mail_files.person_message(person, mail, number, Chance(f"{seed}:signature:{person.slug}"))
            boxed.append((message, mail.box, "record"))
            if mail.quoted:
                boxed.append((mail_files.staff_message(person, mail, message), "mbox", "internal_sender"))
    written = [entry for entry in boxed if entry[2] == "record"]
    # Overlapping exports: the oldest mails of the mbox stand in the Maildir too.
    boxed += [(message, "maildir", "record") for message, box, _ in written[:3] if box == "mbox"]
    boxed += [(stray.message, stray.box, stray.outcome) for stray in _strays(cast)]
    boxed.sort(key=lambda entry: (entry[0].at, entry[0].id, entry[1]))
    mbox = bytearray()
    signed: set[tuple[str, str, str]] = set()
    for number, (message, box, outcome) in enumerate(boxed):
        if box == "mbox":
            mbox += mail_files.mbox_entry(message)
        name = _mail_name(message, box, number, len(boxed))
        files.setdefault(name, message.to_bytes())
        _count(tally, name, outcome)
        if message.signature:
            tally.records[name] += (name, message.address, message.signature) not in signed
            signed.add((name, message.address, message.signature))
    files[MBOX] = bytes(mbox)
    partial = "email/archive/tmp/1760000000.M000001P7.mail.northwind"
    files[partial] = b"From: Half Written <half@written.example>\nSubject: still arriv"
    tally.skipped[partial]["maildir_tmp"] = 1
    return len(written) + len({(address, signature) for _, address, signature in signed})


def _mail_name(message: mail_files.Message, box: str, number: int, total: int) -> str:
    if box == "mbox":
        return MBOX
    if box == "maildir":
        return mail_files.maildir_name(message, number, "cur" if number < total * 0.95 else "new")
    return f"email/{message.at:%Y-%m-%d}-{number:04d}.eml"


def _count(tally: _Tally, name: str, outcome: str) -> None:
    if outcome in ("record", "unclaimed", "shared"):
        tally.records[name] += 1
    elif outcome == "rejected":
        tally.rejected[name] += 1
    else:
        tally.skipped[name][outcome] += 1


def _chats(cast: list[Person], files: dict[str, bytes], tally: _Tally, native: dict[str, list[str]]) -> int:
    """Adds the Slack export; gives the number of documents: one per person, channel and day."""
    workspace = slack_file.Workspace()
    found: set[tuple[str, str, str]] = set()
    for number, person in enumerate(cast):
        if "slack" not in person.homes:
            continue
        native[person.slug].append(f"slack:{slack_file.TEAM}/{workspace.member(person, number)}")
        channel = f"ext-{person.slug}" if person.story else "customer-help"
        for turn, chat in enumerate(person.chats):
            workspace.conversation(person, chat, channel, threaded=turn % 2 == 1)
            found.add((channel, f"{chat.at:%Y-%m-%d}", person.slug))
    noise.chatter(workspace)
    members = [*workspace.members(), *noise.BROKEN_DAYS.items()]
    files[slack_file.ARCHIVE] = slack_file.zip_bytes(members)
    tally.records[slack_file.ARCHIVE] = len(found)
    tally.rejected[slack_file.ARCHIVE] = len(noise.BROKEN_DAYS)
    tally.skipped[slack_file.ARCHIVE] = workspace.skipped
    return len(found)


def _answer(person: Person, native: list[str]) -> PersonAnswer:
    identifiers = [*(f"email:{address}" for address in person.addresses), *native]
    if {"salesforce", "hubspot"} & set(person.homes) and person.phone:
        identifiers.append(f"phone:{person.phone.replace(' ', '')}")
    return PersonAnswer(
        slug=person.slug,
        name=person.latin_name if person.homes != ("slack",) else person.name,
        identifiers=tuple(identifiers),
        traits=person.traits,
        memories=person.memories,
        never=person.never,
        story=person.story,
    )


def _is_shared(cast: list[Person]) -> bool:
    return sum(f"email:{person.email}" == SHARED for person in cast) > 1


def _strays(cast: list[Person]) -> list[noise.StrayMail]:
    """The stray mails; the one from the shared address only when both who share it are there."""
    return [stray for stray in noise.stray_mails() if stray.outcome != "shared" or _is_shared(cast)]


def _nobody(cast: list[Person]) -> tuple[str, ...]:
    known = {address for person in cast for address in person.addresses}
    strangers = {stray.message.address.lower() for stray in _strays(cast)} - known - {""}
    return tuple(sorted(strangers | {staff_email(key) for key in staff()}))


def _save(target: Path, files: dict[str, bytes]) -> None:
    for name in _earlier(target) - files.keys():
        (target / name).unlink(missing_ok=True)
    for name, content in files.items():
        path = target / name
        if path.is_file() and path.read_bytes() == content:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _earlier(target: Path) -> set[str]:
    """Names of the files that an earlier run wrote, as its answer key lists them."""
    path = target / ANSWER_KEY
    if not path.is_file():
        return set()
    return {answer["file"] for answer in json.loads(path.read_text(encoding="utf-8"))["files"]}
