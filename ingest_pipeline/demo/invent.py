"""People made from parts: a company, a job, a few things they say about themselves, and everyday business around it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ingest_pipeline.demo.answers import ExpectedMemory, ExpectedTrait, Forbidden
from ingest_pipeline.demo.chance import DAYS, Chance, Deck
from ingest_pipeline.demo.people import Chat, Entry, Mail, Person, data, staff
from ingest_pipeline.documents import Json

_SINGLE = (
    "contact_preference", "communication_style", "detail_preference", "expertise_level", "preferred_language",
)  # fmt: skip
_HOMES = (
    ("salesforce",), ("salesforce", "slack"), ("hubspot",), ("hubspot", "slack"), ("lead",),
    ("salesforce",), ("hubspot",), ("mail",),
)  # fmt: skip
_CHATS = 5
_OFFICE_HOUR = 14
"""Days between the days on which people come to the help channel, so that several meet there."""

_BOXES = ("mbox", "mbox", "mbox", "maildir", "maildir", "eml")


@dataclass(slots=True)
class _Draft:
    """What is collected for one person. ``said`` maps a channel (own, note, chat) to sentences yet to be placed."""

    said: dict[str, list[str]] = field(default_factory=lambda: {"own": [], "note": [], "chat": []})
    traits: dict[str, str | tuple[str, ...]] = field(default_factory=dict)
    memories: list[ExpectedMemory] = field(default_factory=list)
    never: list[Forbidden] = field(default_factory=list)


class Inventor:
    """Makes people, one after the other, from a seed. Their number is not limited."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._cast = data("cast.toml")
        self._facts = data("facts.toml")
        self._topics: list[dict[str, list[str]]] = data("topics.toml")["topic"]
        self._remarks: dict[str, list[Json]] = data("remarks.toml")
        self._staff = staff()
        chance = Chance(f"{seed}:decks")
        self._notes = Deck(chance, self._remarks["note"])
        self._reactions = Deck(chance, self._remarks["reaction"])
        self._memories = {channel: Deck(chance, ways) for channel, ways in self._facts["memories"].items()}
        self._chats = Deck(chance, self._remarks["chat"])
        self._order = Deck(chance, [str(number) for number in range(len(self._topics))])

    def people(self, count: int, skip: int = 0, homes: tuple[str, ...] = ()) -> Iterator[Person]:
        """``count`` people from number ``skip`` on, in these ``homes`` or else spread over all kinds."""
        for number in range(skip, skip + count):
            yield self._person(number, Chance(f"{self._seed}:person:{number}"), homes)

    def _person(self, number: int, chance: Chance, homes: tuple[str, ...]) -> Person:
        bare = self._bare(number, chance, homes or _HOMES[number % len(_HOMES)])
        draft = self._draft(bare, chance)
        by = chance.pick(tuple(self._staff))
        start = (bare.since - chance.moment(0)).days + 3
        return Person(
            **{name: getattr(bare, name) for name in _BARE},
            mails=tuple(self._mails(bare, draft, chance, by, start)),
            chats=tuple(self._conversations(bare, draft, chance, by, start)),
            entries=tuple(self._entries(bare, draft, chance, by, start)),
            traits=tuple(ExpectedTrait(key, value) for key, value in draft.traits.items()),
            memories=tuple(draft.memories),
            never=tuple(draft.never),
        )

    def _bare(self, number: int, chance: Chance, homes: tuple[str, ...]) -> Person:
        """The person without a word said. Names do not repeat within 42 × 42, companies within 42 × 21 people."""
        names, companies = self._cast["names"], self._cast["companies"]
        lap, step = divmod(number, len(names["first"]))
        first = names["first"][step]
        last = names["last"][(step * 5 + lap + self._seed) % len(names["last"])]
        lap %= len(companies["second"])
        kind = companies["second"][(step * 4 + lap) % len(companies["second"])]
        company = f"{companies['first'][(step * 11 + self._seed) % len(companies['first'])]} {kind}"
        city = self._cast["cities"][(number * 7 + self._seed) % len(self._cast["cities"])]
        serial = "" if number < len(names["first"]) ** 2 else str(number)
        user = f"{_ascii(first)}.{_ascii(last)}{serial}"
        return Person(
            slug=f"{user.replace('.', '-')}",
            name=f"{first} {last}",
            company=company,
            title=chance.pick(self._cast["titles"]["all"]),
            city=city["name"],
            country=city["country"],
            email=f"{user}@{_ascii(company)}.example",
            homes=homes,
            since=chance.moment(chance.below(120)),
            phone=_phone(city, number),
        )

    def _draft(self, person: Person, chance: Chance) -> _Draft:
        draft = _Draft()
        if person.homes == ("mail",):
            draft.said["own"].append(
                chance.pick(self._facts["introductions"]["own"]).format(
                    name=person.name, company=person.company, title=person.title, city=person.city
                )
            )
        draft.traits = {
            "name": person.name,
            "company": person.company,
            "job_title": person.title,
            "location": person.city,
        }
        # A staff mail that some of them quote speaks of Lisbon.
        draft.never.append(Forbidden("location", "Lisbon"))
        for key in chance.some(_SINGLE, 2):
            self._say(draft, chance, key, chance.pick(tuple(self._facts[key])), person)
        for key in chance.some(("interests", "current_goals", "timezone"), 2):
            self._say_value(draft, chance, key, person)
        self._remember(draft, chance, "own")
        if person.homes[0] in ("salesforce", "hubspot"):
            self._remember(draft, chance, "note")
        return draft

    def _say(self, draft: _Draft, chance: Chance, key: str, value: str, person: Person) -> None:
        ways = self._facts[key][value]
        channel = _channel(chance, ways, person)
        draft.said[channel].append(chance.pick(ways[channel]))
        draft.traits[key] = value

    def _say_value(self, draft: _Draft, chance: Chance, key: str, person: Person) -> None:
        ways = self._facts[key]
        zone = next(city["zone"] for city in self._cast["cities"] if city["name"] == person.city)
        value = zone if key == "timezone" else chance.pick(ways["values"])
        channel = _channel(chance, ways, person)
        draft.said[channel].append(chance.pick(ways[channel]).format(value=value))
        draft.traits[key] = value if key == "timezone" else (value,)

    def _remember(self, draft: _Draft, chance: Chance, channel: str) -> None:
        kind, sentence, words = self._memories[channel].deal()
        draft.said[channel].append(sentence.format_map(chance.slots()))
        draft.memories.append(ExpectedMemory(kind, words))

    def _mails(self, person: Person, draft: _Draft, chance: Chance, by: str, start: int) -> Iterator[Mail]:
        change = self._change(person, draft, chance)
        said = [*draft.said["own"], *change]
        count = max(4 + chance.below(2), len(said))
        days = sorted(start + chance.below(DAYS - start) for _ in range(count))
        answered = False
        for number, day in enumerate(days):
            fact = said[number] if number < len(said) else ""
            answered = not answered and chance.maybe(0.55)
            yield self._mail(person, chance, by, chance.moment(day), fact, answered)

    def _change(self, person: Person, draft: _Draft, chance: Chance) -> list[str]:
        """Every fourth person moves or is promoted; it is said last, so that it holds at the end."""
        if not chance.maybe(0.25):
            return []
        if chance.maybe(0.6):
            city = chance.pick([city["name"] for city in self._cast["cities"] if city["name"] != person.city])
            draft.traits["location"] = city
            draft.traits.pop("timezone", None)
            draft.never.append(Forbidden("location", person.city))
            return [chance.pick(self._facts["moves"]["own"]).format(city=city)]
        title = f"Head of {chance.pick(('Logistics', 'Operations', 'Fulfilment', 'Distribution'))}"
        draft.traits["job_title"] = title
        draft.never.append(Forbidden("job_title", person.title))
        return [chance.pick(self._facts["promotions"]["own"]).format(title=title)]

    def _mail(self, person: Person, chance: Chance, by: str, at: datetime, fact: str, answers: bool) -> Mail:
        slots = chance.slots()
        topic = self._topics[int(self._order.deal())]
        subject = chance.pick(topic["subject"]).format_map(slots)
        if answers:
            words = [self._reactions.deal().format_map(slots)]
        else:
            words = [
                chance.pick(topic["opener"]),
                *chance.some(topic["detail"], 1 + chance.below(2)),
                chance.pick(topic["ask"]),
            ]
        body = [" ".join(words).format_map(slots), *([fact] if fact else [])]
        greeting = chance.pick(self._remarks["greeting"]).format(staff=self._staff[by].split()[0])
        quoted = f"Hello {person.given},\n\n{chance.pick(self._remarks['staff_mail']).format_map(slots)}"
        return Mail(
            at=at,
            subject=f"Re: {subject}" if answers else subject,
            text="\n\n".join([greeting, *body]),
            box=chance.pick(_BOXES),
            quoted=quoted if answers else "",
            by=by if answers else "",
            style="bottom" if answers and chance.maybe(0.25) else "top",
            html=chance.maybe(0.12),
        )

    def _conversations(self, person: Person, draft: _Draft, chance: Chance, by: str, start: int) -> Iterator[Chat]:
        if "slack" not in person.homes:
            return
        said = draft.said["chat"]
        for number in range(max(_CHATS, len(said))):
            slots = chance.slots()
            question, answer = self._chats.deal()
            lines = [("me", question.format_map(slots)), (by, answer.format_map(slots))]
            if number < len(said):
                lines.append(("me", said[number]))
            elif chance.maybe(0.7):
                lines.append(("me", chance.pick(self._remarks["followup"])))
            day = start + number * (DAYS - start) // _CHATS + chance.below(90)
            yield Chat(chance.moment(day - day % _OFFICE_HOUR), tuple(lines))

    def _entries(self, person: Person, draft: _Draft, chance: Chance, by: str, start: int) -> Iterator[Entry]:
        if person.homes[0] not in _ENTRY_KINDS:
            return
        kinds = _ENTRY_KINDS[person.homes[0]]
        said = draft.said["note"]
        for number in range(max(2, len(said))):
            at = chance.moment(start + chance.below(DAYS - start))
            kind = kinds[(number + chance.below(2)) % len(kinds)]
            sentences = [self._notes.deal().format_map(chance.slots())]
            if number < len(said):
                sentences.append(said[number])
            text = " ".join(sentences)
            subject = chance.pick(self._remarks[_SUBJECTS[kind]]) if kind in _SUBJECTS else ""
            yield Entry(kind, at, f"<p>{text}</p>" if kind == "hubspot_note" else text, subject, by)
        if person.homes[0] == "salesforce" and chance.maybe(0.5):
            yield self._case(chance, chance.moment(start + chance.below(DAYS - start)))

    def _case(self, chance: Chance, at: datetime) -> Entry:
        slots = chance.slots()
        topic = self._topics[int(self._order.deal())]
        words = [chance.pick(topic["opener"]), *chance.some(topic["detail"], 2), chance.pick(topic["ask"])]
        return Entry("case", at, " ".join(words).format_map(slots), chance.pick(topic["subject"]).format_map(slots))


_BARE = (
    "slug", "name", "company", "title", "city", "country", "email", "homes", "since", "phone",
)  # fmt: skip
_ENTRY_KINDS = {"salesforce": ("task", "note", "event"), "lead": ("lead_task",), "hubspot": ("hubspot_note",)}
_SUBJECTS = {"task": "task_subject", "lead_task": "task_subject", "event": "event_subject", "note": "note_subject"}


def _channel(chance: Chance, ways: Mapping[str, Json], person: Person) -> str:
    """Where a fact is said, of the ways that the person's systems allow; in own mail twice as often as elsewhere."""
    allowed = {"own": True, "note": person.homes[0] in _ENTRY_KINDS, "chat": "slack" in person.homes}
    return chance.pick([name for name in ("own", "own", "note", "chat") if name in ways and allowed[name]])


def _phone(city: Mapping[str, Json], number: int) -> str:
    """A number from a range that is reserved for fiction, as long as there are any left, else none."""
    if "phone" not in city or number >= 95:
        return ""
    return str(city["phone"]).format(n=number + 1)


_PLAIN = str.maketrans("üáńéóí", "uaneoi", " &")


def _ascii(text: str) -> str:
    return text.lower().translate(_PLAIN)
