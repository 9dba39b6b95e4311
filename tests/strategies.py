"""Hypothesis strategies that several test files share: people of a small world, so that they often collide."""

from hypothesis import strategies as st

from ingest_pipeline.documents import Identifier, Person
from ingest_pipeline.identity import Claim

NAMESPACES = ("salesforce:a", "hubspot", "slack:T1")
EMAILS = ("a@x.example", "b@x.example", "c@x.example", "d@x.example")
PHONES = ("+4930111", "+4930222")


def natives(namespace: str) -> st.SearchStrategy[Identifier]:
    kind = namespace.partition(":")[0]
    return st.sampled_from([Identifier(kind, f"{namespace}/{number}") for number in range(3)])


@st.composite
def persons(draw: st.DrawFn, claims: bool | None = None) -> Person:
    """A CRM or chat person with some addresses, or a bare sender; some only referred to."""
    says = draw(st.booleans()) if claims is None else claims
    if draw(st.integers(0, 2)) == 0:
        address = draw(st.sampled_from(EMAILS))
        return Person(Identifier("email", address), "email", draw(st.sampled_from([None, "Kim"])), claims=says)
    namespace = draw(st.sampled_from(NAMESPACES))
    key = draw(natives(namespace))
    shared = draw(st.frozensets(st.sampled_from(EMAILS), max_size=2))
    phones = draw(st.frozensets(st.sampled_from(PHONES), max_size=1))
    same_as = draw(st.frozensets(natives(namespace), max_size=1)) - {key} if draw(st.integers(0, 3)) == 0 else ()
    identifiers = [Identifier("email", e) for e in sorted(shared)] + [Identifier("phone", p) for p in sorted(phones)]
    return Person(
        key, namespace, draw(st.sampled_from([None, "Kim", "Li Wei"])), tuple(identifiers), tuple(same_as), says
    )


def claim(person: Person) -> Claim[str]:
    """The person as identity resolution sees it."""
    key = str(person.key)
    shareable = {str(i) for i in person.identifiers} | ({key} if person.key.kind == "email" else set())
    return Claim(
        key=key,
        namespace=person.namespace,
        same_as=frozenset(str(i) for i in person.same_as),
        shareable=frozenset(shareable),
        weak=frozenset(i for i in shareable if i.startswith("phone:")),
    )


claims = persons(claims=True).map(claim)
