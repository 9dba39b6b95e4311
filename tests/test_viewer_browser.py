"""The pages in a real browser: what a person does with mouse, keyboard or phone, and what the browser must not do.

The system's Chromium, found on PATH; skipped where there is none.
"""

import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from sqlalchemy import Engine, insert

from ingest_pipeline.api.application import create_app
from ingest_pipeline.direct import TextRequest, ingest_text
from ingest_pipeline.documents import Identifier, Person, Record, Role, Segment, Source
from ingest_pipeline.llm.tables import LlmBudgetRow
from ingest_pipeline.pipeline import open_pipeline
from ingest_pipeline.settings import Settings
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.documents import save_records
from ingest_pipeline.store.facts import Fact, load_facts
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.passages import load_texts
from tests.builders import add_file

KEY = "sesame"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE_MS = 60_000
"""How long something may take to show; the machine may be busy."""

LONG = f"dora.{'van' * 20}@x.example"
DESKTOP, PHONE = (1280, 900), (360, 740)

ATTACK = "<script>window.hacked = true; document.title = 'hacked'</script><img src=x onerror='window.hacked = true'>"
TEXTS = (
    ("2024-01-10", "I live in Porto. I prefer email. I love chess."),
    ("2024-05-02", f"👩‍👩‍👧 Olá! I moved to Lisbon last month. {ATTACK} Please call me instead of writing. Até já 🇵🇹"),
    (
        "2024-06-03",
        "We are evaluating the enterprise plan. I will be on vacation in August. " + "So it goes on. " * 200,
    ),
)


@dataclass(frozen=True)
class Site:
    """A running server with its store. ``people``: profile ids by external id."""

    address: str
    engine: Engine
    people: dict[str, str]

    def fact(self, who: str, key: str) -> Fact:
        facts = load_facts(self.engine, self.people[who])
        return next(fact for fact in (*facts.traits, *facts.memories) if key in (fact.key, fact.value))


def fill(settings: Settings) -> dict[str, str]:
    pipeline = open_pipeline(settings)
    people = {}
    add_file(pipeline.engine)
    save_records(pipeline.engine, Source.CRM, [_waiting()], run_id=None)
    people["dora"] = find_profile(pipeline.engine, LONG)
    for who in ("ana", "bo", "cleo"):
        people[who] = create_profile(pipeline.engine, who)
        for day, text in TEXTS:
            ingest_text(pipeline, people[who], TextRequest(text, occurred_at=datetime.fromisoformat(f"{day}T09:00Z")))
    for city in ("Oslo", "Bergen"):  # said at one moment: nothing decides
        at = datetime(2025, 1, 1, tzinfo=UTC)
        ingest_text(pipeline, people["bo"], TextRequest(f"I live in {city}.", occurred_at=at))
    with pipeline.engine.begin() as connection:
        spent = [{"period": datetime.now(UTC).date().isoformat(), "spent_usd": 1.25}]
        connection.execute(insert(LlmBudgetRow), spent)
    pipeline.close()
    return people


def _waiting() -> Record:
    """Not extracted yet."""
    person = Person(Identifier("hubspot", "h/1"), "hubspot", "Dora", (Identifier("email", LONG),))
    text = "I live in Ghent."
    return Record(
        "hubspot", "note", "n1", (person,), text, "crm/notes.csv", "row 1", (Segment(0, len(text), Role.SUBJECT),)
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("home")
    settings = Settings(home=home, database_url=f"sqlite:///{home / 'profiles.db'}", api_key=KEY)  # type: ignore[arg-type]
    people = fill(settings)
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        threading.Event().wait(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Site(f"http://127.0.0.1:{port}", app.state.services.pipeline.engine, people)
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser on PATH: install chromium (looked for {', '.join(NAMES)})")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def login(site: Site, browser: Browser) -> Any:
    """The cookies of somebody who logged in by the form."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{site.address}/status")
    page.get_by_label("API key").fill(KEY)
    page.get_by_label("Your name").fill("Kim")
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{site.address}/status")
    state = context.storage_state()
    context.close()
    return state


class Watched:
    """A context that notes every request and every message of the console, which tells of what the policy refused."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._address = address
        context.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def go(self, path: str) -> Page:
        self.page.goto(f"{self._address}{path}")
        return self.page

    def check(self) -> None:
        """Nothing was asked of anybody else, nothing went wrong."""
        assert self.requests
        assert [url for url in self.requests if not url.startswith(f"{self._address}/")] == []
        assert self.complaints == []


@pytest.fixture
def watched(site: Site, browser: Browser, login: Any) -> Iterator[Watched]:
    context = browser.new_context(storage_state=login, viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
    watched = Watched(context, site.address)
    yield watched
    watched.check()
    context.close()


def paths(site: Site) -> list[str]:
    """Every kind of page."""
    home, dora = f"/profiles/{site.people['bo']}", f"/profiles/{site.people['dora']}"
    document = site.fact("bo", "interests").proofs[0].document_id
    memory = next(fact.id for fact in load_facts(site.engine, site.people["bo"]).memories)
    return [
        "/profiles", "/profiles?q=nobody", dora, f"{dora}/split", home,
        f"{home}/facts/location", f"{home}/facts/interests",
        f"{home}/facts/timezone", f"{home}/facts/{memory}", f"{home}/documents", f"{home}/documents/{document}",
        f"{home}/merge", f"{home}/split", f"{home}/forget", "/duplicates", "/status", "/docs", "/nowhere",
    ]  # fmt: skip


def test_from_the_list_to_the_sentence_that_proves_a_fact(watched: Watched, site: Site) -> None:
    page = watched.go("/profiles")
    page.get_by_label("Search names").fill("ana")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="ana", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("ana")
    page.get_by_role("link", name="Lisbon", exact=True).click()
    proof = site.fact("ana", "location").proofs[0]
    text = load_texts(site.engine, [proof.document_id])[proof.document_id].text
    assert page.locator("mark").all_text_contents() == [proof.quote] == [text[proof.start : proof.end]]
    quoted = page.locator("blockquote").text_content()
    assert quoted is not None
    assert quoted in text
    page.get_by_role("link", name="the whole document").click()
    assert page.locator("#claim").text_content() == proof.quote
    assert page.locator(".turn .text").text_content() == text


def test_a_script_in_a_text_does_not_run(watched: Watched, site: Site) -> None:
    document = site.fact("ana", "location").proofs[0].document_id
    for path in ("", "/facts/location", f"/documents/{document}"):
        page = watched.go(f"/profiles/{site.people['ana']}{path}")
        assert page.evaluate("window.hacked") is None
        assert "hacked" not in page.title()
    assert ATTACK in (page.locator(".turn").text_content() or "")


def test_a_rejected_fact_is_gone_and_can_be_taken_back(watched: Watched, site: Site) -> None:
    page = watched.go(f"/profiles/{site.people['cleo']}")
    page.get_by_role("button", name="Reject Interests").click()
    expect(page.get_by_role("status")).to_contain_text("Interests rejected")
    expect(page.get_by_role("link", name="chess", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("link", name="chess", exact=True)).to_have_count(1)


def test_a_conflict_is_decided_with_a_click(watched: Watched, site: Site) -> None:
    page = watched.go(f"/profiles/{site.people['bo']}")
    page.get_by_role("button", name=re.compile("This is right.*Bergen")).click()
    expect(page.get_by_role("heading", name="To decide")).to_have_count(0)
    assert site.fact("bo", "location").value == "Bergen"


def test_everything_works_without_javascript(site: Site, browser: Browser, login: Any) -> None:
    context = browser.new_context(storage_state=login, java_script_enabled=False)
    watched = Watched(context, site.address)
    page = watched.go(f"/profiles/{site.people['cleo']}/facts/contact_preference")
    page.locator("summary", has_text="Edit").click()
    page.get_by_role("combobox", name="Contact preference").select_option("chat")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("chat")
    watched.check()
    context.close()


def test_the_keyboard_is_enough(watched: Watched, site: Site) -> None:
    """Skip link, search, profile, fact, decision; and one sees where one is."""
    page = watched.go("/profiles")
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.keyboard.press("/")
    page.keyboard.type("cleo")
    page.keyboard.press("Enter")
    page.wait_for_url("**/profiles?q=cleo")
    tab_to(page, "cleo")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/profiles/{site.people['cleo']}")
    tab_to(page, "Lisbon")
    page.keyboard.press("Enter")
    page.wait_for_url("**/facts/location")
    tab_to(page, "Confirm")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Location confirmed")


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.textContent.trim()"))


def tab_to(page: Page, name: str, most: int = 40) -> None:
    for _ in range(most):
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", f"nothing shows that {focused(page)!r} has the focus"
        if focused(page) == name:
            return
    raise AssertionError(f"{name} is not reached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_keeps_anybody_out(site: Site, browser: Browser, login: Any, scheme: Any) -> None:
    """axe-core finds nothing serious or critical; in the dark only the colours are others."""
    context = browser.new_context(storage_state=login, color_scheme=scheme)
    watched, axe = Watched(context, site.address), Axe()
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if scheme == "dark":
        options["runOnly"] = ["color-contrast"]
    found = []
    for path in [*paths(site), "/login"]:
        page = watched.go(path)
        page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        for problem in axe.run(page, options=options).response["violations"]:
            if problem["impact"] in ("serious", "critical"):
                found.append((path, problem["id"], [node["html"][:200] for node in problem["nodes"][:3]]))
    context.close()
    assert found == []


def test_nothing_is_wider_than_a_phone(site: Site, browser: Browser, login: Any) -> None:
    context = browser.new_context(storage_state=login, viewport={"width": PHONE[0], "height": PHONE[1]}, is_mobile=True)
    watched = Watched(context, site.address)
    wide = {}
    for path in paths(site):
        page = watched.go(path)
        page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        width = page.evaluate("Math.max(document.documentElement.scrollWidth, innerWidth)")
        if width > PHONE[0]:
            wide[path] = width
    context.close()
    assert wide == {}


def test_a_retry_is_started_and_watched(watched: Watched, site: Site) -> None:
    """The page answers at once, tells how far it is, and that it is done."""
    page = watched.go("/status")
    page.get_by_role("button", name="Retry now").click()
    expect(page.get_by_text("A retry is going on")).to_be_visible()
    expect(page.get_by_text("everything that could be done is done")).to_be_visible()
    expect(page.get_by_text("Nothing is pending, nothing has failed.")).to_be_visible()
    page.goto(f"{site.address}/profiles?q=dora")
    expect(page.get_by_role("link", name="Dora", exact=True)).to_be_visible()


def test_the_spend_is_a_chart_with_a_table(watched: Watched) -> None:
    page = watched.go("/status")
    expect(page.get_by_role("img", name="Dollars spent")).to_be_visible()
    page.get_by_text("The figures", exact=True).click()
    expect(page.get_by_role("cell", name="$1.25")).to_be_visible()


def test_without_a_login_only_the_form_is_shown(site: Site, browser: Browser, tmp_path: Path) -> None:
    context = browser.new_context()
    watched = Watched(context, site.address)
    page = watched.go(f"/profiles/{site.people['ana']}")
    expect(page.get_by_label("API key")).to_be_visible()
    assert "Lisbon" not in page.content()
    watched.check()
    context.close()
