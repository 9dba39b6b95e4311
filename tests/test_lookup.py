"""Finding profiles: by everything that points at one, and nobody by what does not."""

import pytest
from sqlalchemy import Engine, update

from ingest_pipeline.documents import Identifier, Person, Record, Source
from ingest_pipeline.errors import InvalidInput, ProfileNotFound
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.documents import save_records
from ingest_pipeline.store.lookup import Ambiguous, check_profiles, find_profile, list_ambiguous, list_profiles
from ingest_pipeline.store.resolving import find_profiles
from ingest_pipeline.store.tables import Profile
from tests.builders import contact, record, save


def person(number: int, name: str, *identifiers: tuple[str, str]) -> Record:
    known = tuple(Identifier(*identifier) for identifier in identifiers)
    who = Person(Identifier("salesforce", f"org/{number}"), "salesforce:org", name, known)
    return Record("salesforce", "contact", f"{number}", (who,), "Title: Buyer", "", f"row {number}")


PEOPLE = (
    person(1, "Åsa Öberg", ("email", "asa@fjord.example"), ("phone", "+4640123456")),
    person(2, "Kim 100%_Lee", ("email", "kim@x.example"), ("email", "info@shop.example")),
    person(3, "Bo Li", ("email", "info@shop.example")),
)


@pytest.fixture
def ids(engine: Engine) -> list[str]:
    """The profiles of PEOPLE; two of them claim info@shop.example."""
    save_records(engine, Source.CRM, PEOPLE, None)
    return [find_profile(engine, f"salesforce:org/{number}") for number in (1, 2, 3)]


def test_everything_that_points_at_a_profile_finds_it(engine: Engine, ids: list[str]) -> None:
    """Ids in any spelling, e-mail in any case, phone numbers as people write them, native ids."""
    references = (
        ids[0], ids[0].upper(), ids[0].replace("-", ""), f"  {ids[0]} ", "asa@fjord.example", "ASA@Fjord.Example",
        "email:Asa@fjord.example", "+4640123456", "+46 (40) 123-456", "phone:+4640123456", "salesforce:org/1",
    )  # fmt: skip
    assert {find_profile(engine, reference) for reference in references} == {ids[0]}
    assert find_profile(engine, ids[0][:8], by_start=True) == ids[0]


def test_what_points_at_nobody_finds_nobody(engine: Engine, ids: list[str]) -> None:
    """Names do not identify; nor does the start of an id, unless it is only looked at."""
    for reference in ("", "Bo Li", "bo@x.example", "salesforce:org/9", "0" * 32, "%", "\x00", "\ud83d", ids[0][:8]):
        with pytest.raises(ProfileNotFound):
            find_profile(engine, reference)
    for reference in ("", "000000", ids[0][:5], "xyzxyz"):
        with pytest.raises(ProfileNotFound):
            find_profile(engine, reference, by_start=True)


def test_a_shared_identifier_is_ambiguous_and_its_owners_can_be_found(engine: Engine, ids: list[str]) -> None:
    """The error names the command that lists them; searching for it lists them, too."""
    with pytest.raises(InvalidInput, match="--ambiguous") as shared:
        find_profile(engine, "info@shop.example")
    assert shared.value.code == "ambiguous_profile"
    assert list_ambiguous(engine) == [Ambiguous("email:info@shop.example", tuple(sorted(ids[1:])))]
    assert {summary.id for summary in list_profiles(engine, "info@shop")[0]} == set(ids[1:])


def test_an_external_id_that_looks_like_something_else_wins(engine: Engine, ids: list[str]) -> None:
    """The caller's own ids come before identifiers, and before the start of an id."""
    own = create_profile(engine, "salesforce:org/1")
    assert own != ids[0]
    assert find_profile(engine, "salesforce:org/1") == own
    number = create_profile(engine, ids[0][:8])
    assert find_profile(engine, ids[0][:8], by_start=True) == number


def test_an_external_id_that_is_an_address_is_whoever_has_it(engine: Engine, ids: list[str]) -> None:
    """No second profile for somebody who is known by it."""
    assert create_profile(engine, "Asa@fjord.example") == ids[0]
    assert find_profile(engine, "asa@fjord.example") == ids[0]


def test_a_merged_profile_leads_to_the_one_it_went_into(engine: Engine, ids: list[str]) -> None:
    """By its id and by its external id; it is not listed any more."""
    gone = create_profile(engine, "crm-old")
    with engine.begin() as connection:
        connection.execute(update(Profile).where(Profile.id == gone).values(merged_into=ids[0]))
    assert find_profile(engine, gone) == find_profile(engine, "crm-old") == ids[0]
    assert find_profile(engine, gone[:12], by_start=True) == ids[0]
    assert gone not in {summary.id for summary in list_profiles(engine)[0]}
    with pytest.raises(InvalidInput, match="1 of 2"):
        check_profiles(engine, [ids[0], gone])


def test_searching(engine: Engine, ids: list[str]) -> None:
    """In names, external ids and identifiers, ignoring case; % and _ are themselves."""
    create_profile(engine, "CRM-77")
    expected = {
        "ÅSA": {"Åsa Öberg"}, "åsa öb": {"Åsa Öberg"}, "OBERG": set(), "fjord": {"Åsa Öberg"}, " li ": {"Bo Li"},
        "100%_": {"Kim 100%_Lee"}, "1_0": set(), "%": {"Kim 100%_Lee"}, "crm-7": {None}, "ORG/2": {"Kim 100%_Lee"},
        "nobody": set(),
    }  # fmt: skip
    found = {search: {s.name for s in list_profiles(engine, search)[0]} for search in expected}
    assert found == expected


def test_pages_hold_everybody_once_in_order_of_names(engine: Engine, ids: list[str]) -> None:
    """And say how many there are in all; counts are of current rows."""
    pages = [list_profiles(engine, limit=2, offset=offset) for offset in (0, 2, 4)]
    assert [total for _, total in pages] == [3, 3, 3]
    everybody = [summary for page, _ in pages for summary in page]
    assert sorted(summary.id for summary in everybody) == sorted(ids)
    assert [summary.name for summary in everybody][:2] == ["Bo Li", "Kim 100%_Lee"]
    assert {(s.documents, s.traits, s.memories) for s in everybody} == {(1, 0, 0)}
    assert everybody[1].identifiers == ("kim@x.example", "salesforce:org/2")


def test_check_profiles_names_no_id(engine: Engine, ids: list[str]) -> None:
    """It tells how many are unknown, and of what is no id at all."""
    check_profiles(engine, ids)
    check_profiles(engine, [])
    with pytest.raises(InvalidInput, match="1 of 4"):
        check_profiles(engine, [*ids, "0d7a4c1e-7a55-4a43-8f0b-b0d1a4a1a222"])
    with pytest.raises(InvalidInput, match="UUIDs"):
        check_profiles(engine, ["asa@fjord.example"])


def test_many_profiles_are_found_as_one_is(engine: Engine) -> None:
    create_profile(engine, "ana")
    create_profile(engine, "ben@bolt.example")
    for n in (1, 2):
        save(engine, record(contact(n, "shared@bolt.example"), native_id=str(n)))
    references = [
        "ana",
        " ana ",
        "Ben@Bolt.example",
        "email:BEN@bolt.example",
        "shared@bolt.example",
        "nobody",
        "",
        "\0",
    ]
    references.append(find_profile(engine, "ana").upper())
    with engine.connect() as connection:
        found = find_profiles(connection, references)
    assert {r: _code(f) for r, f in found.items()} == {r: _code(_one_by_one(engine, r)) for r in references}
    assert sum(isinstance(f, str) for f in found.values()) == 5


def _one_by_one(engine: Engine, reference: str) -> str | InvalidInput:
    try:
        return find_profile(engine, reference)
    except InvalidInput as error:
        return error


def _code(found: str | InvalidInput) -> str:
    return found if isinstance(found, str) else found.code
