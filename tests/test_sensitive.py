"""Sensitive matters: out of profiles unless the trait schema asks for them, and nothing else with them."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from ingest_pipeline.documents import Document, Role, Segment, Source
from ingest_pipeline.errors import TraitSchemaError
from ingest_pipeline.extraction.base import Candidate, Kind, Status
from ingest_pipeline.extraction.grounding import Grounded, ground
from ingest_pipeline.extraction.llm import LlmExtractor
from ingest_pipeline.extraction.offline import OfflineExtractor
from ingest_pipeline.extraction.sensitive import DEFINITIONS, Sensitive, find_sensitive
from ingest_pipeline.extraction.traits import TraitSchema, load_traits, parse_traits
from tests.scripted import DOCUMENT as DOCUMENT_ID
from tests.scripted import PROFILE, Clients, Scripted, opened

SCHEMA = load_traits(None)
HEALTH = replace(SCHEMA, sensitive=frozenset({Sensitive.HEALTH}))

FOUND = {
    "health": """
        I have type 1 diabetes.
        Has diabetes.
        Dana was diagnosed with breast cancer in May.
        I'm sick today.
        I was ill last week, sorry for the delay.
        Is on sick leave until June.
        Is pregnant.
        We are pregnant!
        My daughter's asthma is getting worse.
        I am recovering from knee surgery, my surgery was on Monday.
        I've been depressed since the move.
        Suffers from severe migraines.
        I'm allergic to peanuts.
        I was in hospital for two weeks.
        I use a wheelchair: wheelchair user, please plan for that.
        He is HIV-positive.
        Had COVID in March.
        I can't travel for health reasons.
        My therapist says I should rest.
        Is a recovering alcoholic.
        Ich bin seit Montag krank.
        Ich bin krankgeschrieben.
        Ich habe Diabetes.
        Meine Depressionen sind zurück.
        Meine Frau ist schwanger.
        Er ist schwerbehindert.
        J'ai un cancer du sein.
        Je suis enceinte de trois mois.
        Je suis en arrêt maladie.
        Elle souffre d'épilepsie.
        Tengo diabetes tipo 2.
        Estoy embarazada.
        Estoy de baja por depresión.
        Mi asma ha empeorado.
        Tenho asma.
        Estou grávida.
        Sofro de depressão.
        Ho il diabete.
        Sono incinta.
        Soffro di asma.
    """,
    "religion": """
        I'm a practising Catholic.
        Is Jewish and keeps kosher.
        I am Muslim, so no meetings on Friday noon.
        My church meets on Sundays.
        She converted to Islam.
        I'm an atheist.
        Religion: Hindu
        I observe Ramadan.
        Ich bin evangelisch.
        Konfession: katholisch
        Je suis juif.
        Je suis musulmane.
        Soy católica.
        Sou católico.
        Sono cattolica.
        Voy a misa cada domingo.
    """,
    "politics": """
        I voted for Labour.
        I'm a Republican.
        Is a member of the Green Party.
        I always vote Tory.
        My political views are private.
        Ich wähle die Grünen.
        Mitglied der SPD.
        J'ai voté Macron.
        Voté al PSOE.
        Votei no PS.
        Ho votato per la Lega.
    """,
    "sexual_orientation": """
        I'm gay.
        Is a lesbian.
        As a gay man I care about that.
        Came out as bisexual.
        Ich bin schwul.
        Je suis homosexuelle.
        Soy lesbiana.
        Sou bissexual.
        Sono omosessuale.
    """,
    "ethnicity": """
        I'm Black.
        Is of Turkish descent.
        As a person of colour I notice.
        Ethnicity: Asian
        I am Latina.
        Sono di colore.
        Soy gitano.
    """,
    "trade_union": """
        I'm a trade union member.
        I joined the union last year.
        Is a shop steward.
        Ich bin Gewerkschaftsmitglied.
        Je suis syndiqué à la CGT.
        Estoy afiliada al sindicato.
        Sono iscritto al sindacato.
    """,
    "criminal_record": """
        I was arrested in 2019.
        Was convicted of fraud.
        I have a criminal record.
        He got jailed for it.
        Ich bin vorbestraft.
        J'ai un casier judiciaire.
        Tengo antecedentes penales.
        Tenho cadastro criminal.
        Ho la fedina penale sporca.
    """,
    "biometric": """
        They took my fingerprints at the border.
        My DNA test came back.
        Hier ist mein Fingerabdruck.
        Voici mes empreintes digitales.
    """,
    "finances": """
        My salary is 70,000.
        I'm in debt.
        My credit score is bad.
        I can't pay my rent this month.
        Mein Gehalt ist zu niedrig.
        Mis deudas me preocupan.
    """,
}

HARMLESS = """
    I'm sick of waiting.
    We are sick and tired of this bug.
    A healthy margin is what we need.
    The health check of the service fails.
    The cluster has health issues.
    System health: green.
    We have a diabetes app with 10,000 users.
    I work at Cancer Research UK.
    Works in cancer research.
    Our customers are hospitals and clinics.
    Is evaluating the platform for a chain of hospitals.
    Sells surgical robots to surgeons.
    Works as a nurse in Porto.
    Is an oncologist.
    The market is depressed.
    That was a stroke of luck.
    I'm allergic to meetings.
    My manager turns a blind eye to it.
    Please blind copy me.
    SSO is disabled for our workspace.
    I disabled the plugin.
    A feature that is blind to time zones.
    We moved online because of covid restrictions.
    The virus scanner is broken.
    I'm paralysed by choice of plans? No, we chose Pro.
    Runs a pharmacy in Lyon.
    Interested in mental models.
    Wants to treat customers better.
    The build is sick leaving nothing to chance.
    I'm Christian from the Berlin office.
    My name is Christian Gay.
    Works for Catholic Charities.
    Is at the Hebrew University.
    I'm religious about backups.
    Please restore my faith in your brand.
    You are preaching to the choir.
    Needs the holy grail of CRM exports.
    I voted for this feature request.
    Votes in the product council.
    Is a member of the European Union delegation.
    Works with a credit union.
    Uses UNION SELECT in a report.
    Is a third party member of the project.
    Wants the Enterprise party plan.
    Organises the company's party.
    Labour costs are too high.
    Has a conservative estimate for 2025.
    We made liberal use of your API.
    The logo is black on white.
    Our white paper is out.
    It's Black Friday next week.
    Is white-labelling the product.
    Asian markets come next.
    I'm in the Asian timezone.
    Is responsible for the Asia Pacific region.
    I'm German and live in Lisbon.
    Speaks Portuguese and French.
    I'm convinced.
    I am charged with leading the migration.
    She is on probation until June.
    Wants to arrest the decline of sign-ups.
    Uses a browser fingerprint to detect fraud.
    We want fingerprint login in the app.
    It is in our DNA.
    Has technical debt in the billing code.
    The build broke again.
    My income statement template is attached.
    Our budget is 120,000 a year.
    Asked for the salary module.
    The debt collection API is slow.
    Gay Street 5 is our address.
    Das macht mich krank vor Freude.
    Arbeitet bei einer Krankenkasse.
    Verkauft Software an Krankenhäuser.
    Wir wählen den Pro-Plan.
    Ich wähle die Jahreszahlung.
    Ist Mitglied im Beirat.
    Unsere Kunden sind Kliniken.
    Je suis sur le projet santé.
    Nous avons voté pour ce plan.
    Un ordinateur malade de ses virus.
    Travaille dans un hôpital.
    Estoy harta de esperar.
    Votamos por esta función.
    Trabaja en un hospital.
    Trabalha num hospital.
    Lavora in ospedale pediatrico.
    Sono di Milano.
    Somos uma empresa de saúde.
"""


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("category", "sentence"), [(category, line) for category, text in FOUND.items() for line in _lines(text)]
)
def test_a_sensitive_sentence_is_found(category: str, sentence: str) -> None:
    """In six languages; as memories are worded, too."""
    assert Sensitive(category) in find_sensitive([sentence], "Dana Smith")


@pytest.mark.parametrize("sentence", _lines(HARMLESS))
def test_an_ordinary_sentence_is_not(sentence: str) -> None:
    """Idioms, products, employers, places, other parties and unions."""
    assert find_sensitive([sentence], "Christian Gay") == frozenset()


def test_every_category_is_explained_and_tested() -> None:
    assert set(DEFINITIONS) == set(Sensitive) == {Sensitive(name) for name in FOUND}


TEXT = "I live in Lisbon. I have diabetes. I'm a Catholic."
DOCUMENT = Document(
    DOCUMENT_ID,
    Source.EMAIL,
    "mbox",
    "mail",
    TEXT,
    (Segment(0, len(TEXT), Role.SUBJECT),),
    datetime(2024, 5, 1, tzinfo=UTC),
    PROFILE,
)


def _memory(content: str, quote: str, sensitive: str | None = None) -> Candidate:
    return Candidate(Kind.MEMORY, "fact", content, quote, 0.9, importance=0.5, sensitive=sensitive)


def _ground(candidate: Candidate, schema: TraitSchema = SCHEMA) -> Grounded:
    return ground(DOCUMENT, [candidate], schema)


@pytest.mark.parametrize(
    ("candidate", "kept", "kept_with_health"),
    [
        (_memory("Lives in Lisbon.", "I live in Lisbon"), True, True),
        (_memory("Has diabetes.", "I have diabetes"), False, True),
        (_memory("Eats no sugar.", "I have diabetes"), False, True),
        (_memory("Is Catholic.", "I'm a Catholic"), False, False),
        (_memory("Lives in Lisbon.", "I live in Lisbon", "religion"), False, False),
        (_memory("Lives in Lisbon.", "I live in Lisbon", "health"), False, True),
        (_memory("Lives in Lisbon.", "I live in Lisbon", "weather"), True, True),
        (Candidate(Kind.TRAIT, "location", "Lisbon", "I live in Lisbon. I have diabetes.", 0.9), False, True),
        (Candidate(Kind.TRAIT, "current_goals", "have diabetes under control", "I have diabetes", 0.9), False, True),
    ],
)
def test_what_the_schema_does_not_ask_for_is_dropped(candidate: Candidate, kept: bool, kept_with_health: bool) -> None:
    """By the claim, by the words that prove it, or because the model says so itself; counted as ``sensitive``."""
    for schema, expected in ((SCHEMA, kept), (HEALTH, kept_with_health)):
        result = _ground(candidate, schema)
        assert bool(result.observations) is expected
        assert result.dropped == ({} if expected else {"sensitive": 1})


def test_where_someone_works_and_what_they_are_called_is_no_such_matter() -> None:
    """Names, companies, titles and places, as long as the rest of the quote is not."""
    text = "I'm Christian and I'm the chaplain at my church, St Mary Hospital."
    document = replace(DOCUMENT, text=text, segments=(Segment(0, len(text), Role.SIGNATURE),))
    name = Candidate(Kind.TRAIT, "name", "Christian", "I'm Christian", 0.9)
    assert ground(document, [name], SCHEMA).observations
    company = Candidate(Kind.TRAIT, "company", "St Mary Hospital", "St Mary Hospital", 0.9)
    assert ground(document, [company], SCHEMA).observations


def test_the_offline_extractor_is_guarded_too() -> None:
    """The same sentence with and without the category."""
    text = "I live in Lisbon because of my asthma."
    document = replace(DOCUMENT, text=text, segments=(Segment(0, len(text), Role.SUBJECT),))
    (plain,) = OfflineExtractor(SCHEMA).extract([document])
    assert (plain.status, plain.dropped) == (Status.EMPTY, {"sensitive": 1})
    (asked,) = OfflineExtractor(HEALTH).extract([document])
    assert [each.value for each in asked.observations] == ["Lisbon"]


@pytest.fixture
def clients(engine: Engine, database_url: str, tmp_path: Path) -> Iterator[Clients]:
    yield from opened(engine, database_url, tmp_path)


@pytest.mark.parametrize(("schema", "kept"), [(SCHEMA, 1), (HEALTH, 2)])
def test_a_models_answer_is_guarded(clients: Clients, schema: TraitSchema, kept: int) -> None:
    """From the answer to the extraction, by the field that names the category."""

    def item(content: str, quote: str, sensitive: str | None) -> dict[str, Any]:
        common = {"about": "subject", "confidence": 0.9, "retracted": False, "date_phrase": None, "importance": 0.5}
        return common | {"type": "fact", "content": content, "quote": quote, "sensitive": sensitive}

    items = [item("Lives in Lisbon.", "I live in Lisbon", None), item("Eats no sugar.", "I have", "health")]
    answer = json.dumps({"documents": [{"document": "D1", "traits": [], "memories": items}]})
    extractor = LlmExtractor(schema, clients(Scripted([answer])))
    (extraction,) = extractor.extract([DOCUMENT])
    extractor.close()
    assert len(extraction.observations) == kept
    assert extraction.dropped == ({} if kept == 2 else {"sensitive": 1})


TRAIT = {"key": "diet", "valueType": "string", "sensitiveCategory": "health"}


def test_a_trait_of_a_category_that_is_switched_on_is_extracted() -> None:
    schema = parse_traits({"sensitive": ["health"], "traits": [TRAIT]})
    assert schema.sensitive == {Sensitive.HEALTH}
    assert schema.traits[0].sensitive_category is Sensitive.HEALTH


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([TRAIT], "traits[0] (diet): sensitiveCategory: health is not switched on; write at the top of the file"),
        ({"sensitive": ["religion"], "traits": [TRAIT]}, "health is not switched on"),
        ({"sensitive": ["helth"], "traits": [TRAIT]}, "sensitive: give a list of these: health, religion, "),
        ({"sensitive": "wealth", "traits": [TRAIT]}, "sensitive: give a list of these"),
        ({"sensitive": [["health"]], "traits": [TRAIT]}, "sensitive: give a list of these"),
        ({"sensitive": None, "traits": [TRAIT]}, "sensitive: give a list of these"),
        ([{**TRAIT, "sensitiveCategory": "wealth"}], "sensitiveCategory: Input should be 'health', 'religion'"),
    ],
)
def test_a_category_that_is_not_switched_on_is_explained(data: Any, message: str) -> None:
    with pytest.raises(TraitSchemaError) as error:
        parse_traits(data)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_disabled_trait_may_be_of_any_category() -> None:
    """It is filled in by hand."""
    assert parse_traits([{**TRAIT, "extraction": {"enabled": False}}]).sensitive == frozenset()


def test_switching_a_category_on_or_off_makes_extractions_stale() -> None:
    """Offline and by a model: both fingerprints hold the schema's."""
    plain = [{"key": "a", "valueType": "string"}]
    schemas = [
        parse_traits(plain),
        parse_traits({"sensitive": ["health"], "traits": plain}),
        parse_traits({"sensitive": ["health", "religion"], "traits": plain}),
    ]
    assert len({schema.fingerprint for schema in schemas}) == 3
    assert len({OfflineExtractor(schema).fingerprint for schema in schemas}) == 3
    assert parse_traits({"sensitive": ["religion", "health"], "traits": plain}).fingerprint == schemas[2].fingerprint
