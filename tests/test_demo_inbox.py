"""The demo inbox: repeatable to the byte, and what the readers find in it is what its answer key says."""

import os
import re
import shutil
import subprocess
import sys
import tracemalloc
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import phonenumbers
import pytest

from ingest_pipeline.demo.answers import AnswerKey, ExpectedTrait
from ingest_pipeline.demo.inbox import ANSWER_KEY, generate, make_cast
from ingest_pipeline.demo.large import generate_large
from ingest_pipeline.documents import Item, Record, Rejected, Skipped
from ingest_pipeline.sources import eml, hubspot, mbox, salesforce, slack
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile

OPTIONS = ReadOptions(internal_domains=frozenset({"northwind.example"}))
READERS = {
    "crm/salesforce": salesforce.READER,
    "crm/hubspot": hubspot.READER,
    "email/support.mbox": mbox.READER,
    "email": eml.READER,
    "chat": slack.READER,
}


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AnswerKey]:
    root = tmp_path_factory.mktemp("inbox")
    return root, generate(root)


@pytest.fixture(scope="module")
def items(inbox: tuple[Path, AnswerKey]) -> list[Item]:
    return list(read_inbox(inbox[0]))


def source_file(root: Path, path: Path) -> SourceFile:
    stat = path.stat()
    return SourceFile(path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime, lambda: path.open("rb"))


def read_inbox(root: Path) -> Iterator[Item]:
    """All items of an inbox, each file read by the reader of the longest prefix of its path."""
    groups: dict[str, list[SourceFile]] = defaultdict(list)
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.name not in (ANSWER_KEY, "_source.yaml"):
            file = source_file(root, path)
            groups[max((prefix for prefix in READERS if file.name.startswith(prefix)), key=len)].append(file)
    for prefix, files in groups.items():
        reader: Reader = READERS[prefix]
        yield from reader.read(Export(reader.format, reader.source, tuple(files)), OPTIONS)


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


# -- repeatable -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("python", [sys.executable, "python3.12", "python3.13"])
def test_every_python_writes_the_same_bytes(python: str, inbox: tuple[Path, AnswerKey], tmp_path: Path) -> None:
    """Neither the version nor the hash seed shows in the files."""
    executable = shutil.which(python)
    if not executable or subprocess.run([executable, "-V"], capture_output=True, check=False).returncode:
        pytest.skip(f"no {python} here")
    environment = os.environ | {"PYTHONHASHSEED": "99", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [executable, "-m", "ingest_pipeline.demo", str(tmp_path)]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    assert contents(tmp_path) == contents(inbox[0])


def test_writing_again_touches_nothing_and_mends_what_differs(tmp_path: Path) -> None:
    """Unchanged files keep their mtime, so that the next sync reads nothing."""
    generate(tmp_path)
    before = contents(tmp_path)
    for path in tmp_path.rglob("*"):
        os.utime(path, (1, 1))
    damaged = tmp_path / "crm/salesforce/Note.csv"
    damaged.write_bytes(b"")
    generate(tmp_path)
    assert contents(tmp_path) == before
    touched = {path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_mtime != 1}
    assert touched == {damaged}


def test_another_seed_replaces_only_its_own_files(tmp_path: Path) -> None:
    """Mails of the earlier seed go, a file that somebody put there stays."""
    generate(tmp_path, seed=7)
    mine = tmp_path / "email/mine.eml"
    mine.write_text("From: me@own.example\n\nMine.")
    generate(tmp_path, seed=8)
    assert mine.is_file()
    mine.unlink()
    fresh = tmp_path / "fresh"
    generate(fresh, seed=8)
    expected = contents(fresh)
    shutil.rmtree(fresh)
    assert contents(tmp_path) == expected


# -- what the readers find --------------------------------------------------------------------------------------------


def test_readers_agree_with_the_key_file_by_file(inbox: tuple[Path, AnswerKey], items: list[Item]) -> None:
    """Records with text, rejected and skipped units are as many as the key says, for every file."""
    records: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    skipped: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        if isinstance(item, Record):
            records[item.file] += bool(item.text)
        elif isinstance(item, Rejected):
            rejected[item.file] += 1
        elif isinstance(item, Skipped):
            skipped[item.file][item.reason] += item.units
    found = {name: (records[name], rejected[name], dict(skipped[name])) for name in {*records, *rejected, *skipped}}
    expected = {a.file: (a.records, a.rejected, dict(a.skipped)) for a in inbox[1].files}
    assert found == expected


def count_documents(items: list[Item], key: AnswerKey) -> dict[str, int]:
    """Per source: (record, person) pairs, each once, of people who have a profile."""
    unassigned = {*(f"email:{address}" for address in key.nobody), *key.ambiguous}
    found: dict[str, set[tuple[str, str, str]]] = {source: set() for source in ("crm", "email", "chat")}
    for record in (item for item in items if isinstance(item, Record) and item.text):
        for person in record.subjects:
            if str(person.key) not in unassigned:
                found[record.file.partition("/")[0]].add((record.origin, record.native_id, str(person.key)))
    return {source: len(documents) for source, documents in found.items()}


def test_documents_are_counted_once_and_only_of_people_with_a_profile(
    inbox: tuple[Path, AnswerKey], items: list[Item]
) -> None:
    """A mail in two files is one document; mail of list members, newsletters and a shared address is nobody's."""
    assert count_documents(items, inbox[1]) == inbox[1].documents


def test_everybody_is_found_under_all_their_identifiers(inbox: tuple[Path, AnswerKey], items: list[Item]) -> None:
    """Linking people by shared identifiers gives the key's profiles, and nobody has two of them."""
    key = inbox[1]
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    claimed: set[str] = set()
    for record in (item for item in items if isinstance(item, Record)):
        for person in (person for person in record.subjects if person.claims):
            names = [str(each) for each in (person.key, *person.identifiers, *person.same_as)]
            names = [name for name in names if name not in key.ambiguous]
            claimed.update(names)
            for name in names:
                parent[root(name)] = root(names[0])
    by_person = {
        person.slug: {root(name) for name in person.identifiers if name not in key.ambiguous} for person in key.people
    }
    assert {slug: len(roots) for slug, roots in by_person.items()} == dict.fromkeys(by_person, 1)
    assert {root(name) for name in claimed} == set.union(*by_person.values())
    assert key.profiles == len(key.people) == len({name for roots in by_person.values() for name in roots})
    assert not claimed & {f"email:{address}" for address in key.nobody}


def test_readers_recognise_their_files(inbox: tuple[Path, AnswerKey]) -> None:
    """Every file is one that its own reader takes."""
    for path in (
        path for path in inbox[0].rglob("*") if path.is_file() and path.name not in (ANSWER_KEY, "_source.yaml")
    ):
        file = source_file(inbox[0], path)
        prefix = max((prefix for prefix in READERS if file.name.startswith(prefix)), key=len)
        assert READERS[prefix].detect(file, path.read_bytes()[:65_536]), file.name


def test_only_own_words_of_a_mail_are_left(items: list[Item]) -> None:
    """No sentence of staff, of a forwarded author or of a signature is among a sender's words."""
    mails = [item for item in items if isinstance(item, Record) and item.kind == "mail"]
    own = "\n".join(mail.text for mail in mails)
    for foreign in (
        "I prefer phone calls for that, if you agree",
        "I live in Durban",
        "Tel. +",
        "Our partner in Bruxelles",
    ):
        assert foreign not in own
    for kept in ("Takk.", "How slow? We send", "From now on please keep it brief", "Ευχαριστώ πολύ", "deux cents fûts"):
        assert kept in own


# -- content ----------------------------------------------------------------------------------------------------------


def test_it_is_large_and_varied(inbox: tuple[Path, AnswerKey], items: list[Item]) -> None:
    """At least 60 people, 400 documents, and most sentences stand once."""
    key = inbox[1]
    assert key.profiles >= 60
    assert sum(key.documents.values()) >= 400
    texts = {item.native_id: item.text for item in items if isinstance(item, Record)}
    sentences = Counter(
        sentence.strip()
        for text in texts.values()
        for sentence in re.split(r"(?<=[.!?])\s|\n", re.sub(r"\d+", "9", text))
        if len(sentence.split()) > 4 and ": " not in sentence
    )
    once = sum(1 for count in sentences.values() if count == 1)
    assert (len(sentences) > 600, once > 400) == (True, True), (len(sentences), once)


def test_only_reserved_domains_and_numbers(inbox: tuple[Path, AnswerKey]) -> None:
    """Every address ends in .example, every telephone number is of a range kept for fiction."""
    raw = [content for name, content in contents(inbox[0]).items() if not name.endswith(".zip")]
    with zipfile.ZipFile(inbox[0] / "chat/slack-export.zip") as archive:
        raw += [archive.read(name) for name in archive.namelist()]
    addresses = {a for text in raw for a in re.findall(rb"[\w.+-]+@([\w-]+(?:\.[\w-]+)+)", text)}
    assert addresses
    assert {domain for domain in addresses if not domain.endswith(b".example")} == set()
    fiction = re.compile(
        r"\+1\d{3}55501\d\d|\+4420794600?\d{2,3}|\+44207946\d{4}|\+493023125\d{3}|\+492214710\d{3}|\+498999998\d{3}"
        r"|\+33199\d{6}|\+46846500?4\d\d|\+6125550\d{4}"
    )
    for person in make_cast(7, 200):
        if person.phone:
            assert fiction.fullmatch(person.phone.replace(" ", "")), person.phone
            assert phonenumbers.is_possible_number(phonenumbers.parse(person.phone))


def test_the_key_does_not_contradict_itself(inbox: tuple[Path, AnswerKey]) -> None:
    """What is expected is not forbidden, and slugs and identifiers are of one person (a shared address of two)."""
    key = inbox[1]
    for person in key.people:
        for trait in person.traits:
            assert not any(n.key == trait.key and trait.held_by(n.value) for n in person.never), person.slug
        assert len({trait.key for trait in person.traits}) == len(person.traits)
    owners = Counter(name for person in key.people for name in person.identifiers)
    assert {name for name, count in owners.items() if count > 1} == set(key.ambiguous)
    assert len({person.slug for person in key.people}) == len(key.people)
    assert [person.name for person in key.people].count("Daniel Schmidt") == 2


def test_expected_values_are_said_somewhere(inbox: tuple[Path, AnswerKey], items: list[Item]) -> None:
    """Free-text values that the offline extractor must find stand in a record about that person."""
    collected: dict[str, str] = defaultdict(str)
    for record in (item for item in items if isinstance(item, Record)):
        for subject in record.subjects:
            collected[str(subject.key)] += record.text.casefold() + "\n"
    said = {name: " ".join(text.split()) for name, text in collected.items()}
    free = {"name", "company", "job_title", "location", "interests", "current_goals"}
    for person in inbox[1].people:
        text = "\n".join(said.get(name, "") for name in person.identifiers)
        for memory in (memory for memory in person.memories if memory.offline):
            assert memory.words.casefold() in text, (person.slug, memory.words)
        for trait in (trait for trait in person.traits if trait.offline and trait.key in free):
            for value in (trait.value,) if isinstance(trait.value, str) else trait.value:
                assert value.casefold() in text, (person.slug, trait.key)


@pytest.mark.parametrize(
    ("expected", "stored", "held"),
    [
        ("Lisbon", "Lisbon, Portugal", True),
        ("Lisbon", "Porto", False),
        ("email", "Email", True),
        (("chess",), ["chess", "go"], True),
        (("chess", "jazz"), ["chess"], False),
        (("chess",), [], False),
    ],
)
def test_a_trait_is_held_when_the_stored_value_contains_it(
    expected: str | tuple[str, ...], stored: object, held: bool
) -> None:
    """Case is ignored; of an array every expected element must be there."""
    assert ExpectedTrait("key", expected).held_by(stored) is held


@pytest.mark.parametrize("people", [1, 17, 100])
def test_any_number_of_people(people: int, tmp_path: Path) -> None:
    """Fewer people than stories, or more than the sample has, still agree with their key."""
    key = generate(tmp_path, people=people)
    assert key.profiles == people
    items = list(read_inbox(tmp_path))
    found = Counter(item.file for item in items if isinstance(item, Record) and item.text)
    assert found == Counter({answer.file: answer.records for answer in key.files if answer.records})
    assert count_documents(items, key) == key.documents


# -- for measurements -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("documents", [10, 19, 1234])
def test_a_large_inbox_holds_exactly_as_many_documents(documents: int, tmp_path: Path) -> None:
    """All three formats are there, nothing is rejected."""
    people = generate_large(tmp_path, documents, seed=3)
    items = list(read_inbox(tmp_path))
    assert [item for item in items if isinstance(item, Rejected)] == []
    records = [item for item in items if isinstance(item, Record) and item.text]
    assert len({(record.origin, record.native_id) for record in records}) == len(records) == documents
    assert people == -(-documents // 10)
    assert {record.origin for record in records} == {"salesforce", "mail", "slack"}


def test_writing_a_large_inbox_needs_little_memory(tmp_path: Path) -> None:
    """Twice the documents take no noticeable amount more."""

    def peak(documents: int) -> int:
        tracemalloc.start()
        generate_large(tmp_path, documents, seed=3)
        peaked = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peaked

    peak(10)
    assert peak(2_000) < peak(1_000) * 1.2
