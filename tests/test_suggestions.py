"""Which profiles may be one person: by name and something else, or by a claim; never what somebody told apart."""

import pytest
from sqlalchemy import Engine, event

from ingest_pipeline.documents import Identifier, Person
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.suggestions import normalise_name, suggest_merges
from tests.builders import contact, record, save, sender
from tests.merging import merge, split, sync, undo


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Kim Park", "Park, Kim", True),
        ("José Muñoz", "jose  munoz", True),
        ("Anna-Lena Groß", "anna lena gross", True),
        ("K. Park", "K Park", True),
        ("Kim Park", "Kim Parker", False),
        ("Li Wei", "Li Mei", False),
        ("李伟", "李伟", True),
        ("...", "", True),
    ],
)
def test_names_are_compared_without_order_accents_and_case(one: str, other: str, same: bool) -> None:
    assert (normalise_name(one) == normalise_name(other)) is same


def pairs(engine: Engine) -> list[tuple[set[str], tuple[str, ...]]]:
    """The identifiers of the suggested profiles, and why."""
    return [({i for p in s.profiles for i in p.identifiers if "@" in i}, s.reasons) for s in suggest_merges(engine)]


def test_a_name_alone_suggests_nothing(engine: Engine) -> None:
    """Nor does an address of a role, or one before the @ of somebody with another name."""
    save(
        engine,
        record(sender("kim@x.example", "Kim Park"), native_id="1"),
        record(sender("park@y.example", "Kim Park"), native_id="2"),
        record(sender("info@x.example", "Lee Ray"), native_id="3"),
        record(sender("info@y.example", "Lee Ray"), native_id="4"),
        record(sender("ana@x.example", "Ana Lima"), native_id="5"),
        record(sender("ana@y.example", "Ana Costa"), native_id="6"),
        record(sender("nobody@x.example"), native_id="7"),
        record(sender("nobody@y.example"), native_id="8"),
    )
    assert pairs(engine) == []


def test_a_name_with_a_company_or_an_address_does(engine: Engine) -> None:
    sync(
        engine,
        record(contact(1, "kp@x.example", name="Kim Park"), native_id="1", text="I work at Acme Inc."),
        record(contact(2, "kim@y.example", name="Park, Kim"), native_id="2", text="I work at ACME."),
        record(contact(3, "ana.lima@x.example", name="Ana Lima"), native_id="3", text=""),
        record(contact(4, "ana.lima@y.example", name="ANA LIMA"), native_id="4", text=""),
    )
    assert sorted(pairs(engine), key=repr) == [
        ({"ana.lima@x.example", "ana.lima@y.example"}, ("same name, same address before the @ (ana.lima)",)),
        ({"kim@y.example", "kp@x.example"}, ("same name, same company (acme)",)),
    ]


def test_a_phone_that_two_claim_does_unless_too_many_do(engine: Engine) -> None:
    def person(number: int, phone: str) -> Person:
        address = Identifier("email", f"{number}@x.example")
        return Person(Identifier("hubspot", str(number)), "hubspot", None, (Identifier("phone", phone), address))

    save(engine, *(record(person(n, "+4930111"), native_id=str(n)) for n in range(2)))
    save(engine, *(record(person(n, "+4930222"), native_id=str(n)) for n in range(2, 7)))
    assert pairs(engine) == [({"0@x.example", "1@x.example"}, ("both claim +4930111",))]


def test_two_reasons_come_first_and_the_limit_holds(engine: Engine) -> None:
    shared = "team.list@x.example"
    save(
        engine,
        record(contact(1, shared, name="Ana Lima"), native_id="1"),
        record(contact(2, shared, name="Lee Ray"), native_id="2"),
        record(contact(3, "kim@x.example", "s@x.example", name="Kim Park"), native_id="3"),
        record(contact(4, "kim@y.example", "s@x.example", name="Kim Park"), native_id="4"),
    )
    first, second = suggest_merges(engine)
    assert first.reasons == ("same name, same address before the @ (kim)", "both claim s@x.example")
    assert second.reasons == (f"both claim {shared}",)
    assert suggest_merges(engine, limit=1) == [first]
    assert [c.split()[:2] for c in first.commands] == [["ingest", "merge"]]


def test_what_somebody_told_apart_is_not_suggested(engine: Engine) -> None:
    save(
        engine,
        record(sender("kim@x.example", "Kim Park"), native_id="1"),
        record(sender("kim@y.example", "Kim Park"), native_id="2"),
    )
    assert len(pairs(engine)) == 1
    merge(engine, "kim@x.example", "kim@y.example")
    assert pairs(engine) == []
    undo(engine, "kim@x.example")
    assert pairs(engine) == []
    save(engine, record(contact(1, "lee@x.example", "lee@y.example", name="Lee Ray"), native_id="3"))
    save(engine, record(sender("lee@y.example", "Lee Ray"), native_id="4"))
    split(engine, "lee@x.example", "lee@y.example")
    assert find_profile(engine, "lee@x.example") != find_profile(engine, "lee@y.example")
    assert pairs(engine) == []


def test_more_profiles_cost_no_more_queries(engine: Engine) -> None:
    counts = []
    for size in (5, 60):
        for n in range(size):
            name = f"Person {chr(97 + n % 26)}{n // 26}"
            save(
                engine,
                *(record(sender(f"p{size}.{n}@{host}.example", name), native_id=f"{size}/{n}/{host}") for host in "xy"),
            )
        statements: list[str] = []
        listener = lambda *args, log=statements: log.append(args[2])  # noqa: E731
        event.listen(engine, "before_cursor_execute", listener)
        assert len(suggest_merges(engine, limit=100)) >= size
        event.remove(engine, "before_cursor_execute", listener)
        counts.append(len(statements))
    assert counts[1] == counts[0]
