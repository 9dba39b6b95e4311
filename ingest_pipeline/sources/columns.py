"""Which columns of a CRM person become ``Label: value`` lines, and under which label. Data only: extend it here.

Left out on purpose: ids, system stamps, links, photos, geocodes, address blobs, streets and post codes, e-mail
addresses and phone numbers (they identify, they say nothing), and, always, numbers of identity papers, cards and
bank accounts. Column names are lower case.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """How one kind of person is rendered. There is one of each, which is a key by itself.

    labels: column -> label, in the order of the lines. Of columns with one label the first filled one is used.
    when_true: check box -> label; the line ``label: yes`` is there only when it is set.
    texts: long texts, after a blank line, in this order.
    custom: whether columns that the company added are rendered too, under their own names.
    """

    labels: Mapping[str, str]
    when_true: Mapping[str, str]
    texts: tuple[str, ...] = ()
    custom: bool = True


SALESFORCE_CONTACT = Layout(
    labels={
        "salutation": "Salutation",
        "pronouns": "Pronouns",
        "title": "Title",
        "account.name": "Company",
        "department": "Department",
        "account.industry": "Industry",
        "mailingcity": "City",
        "othercity": "City",
        "mailingstate": "State",
        "otherstate": "State",
        "mailingcountry": "Country",
        "othercountry": "Country",
        "birthdate": "Birthdate",
        "assistantname": "Assistant",
        "leadsource": "Lead source",
        "buyerattributes": "Buyer attributes",
        "departmentgroup": "Department group",
        "titletype": "Seniority",
    },
    when_true={
        "donotcall": "Do not call",
        "hasoptedoutofemail": "Opted out of e-mail",
        "hasoptedoutoffax": "Opted out of fax",
    },
    texts=("description",),
)

SALESFORCE_LEAD = Layout(
    labels={
        "salutation": "Salutation",
        "pronouns": "Pronouns",
        "title": "Title",
        "company": "Company",
        "industry": "Industry",
        "numberofemployees": "Company employees",
        "annualrevenue": "Company annual revenue",
        "city": "City",
        "state": "State",
        "country": "Country",
        "status": "Lead status",
        "rating": "Rating",
        "leadsource": "Lead source",
    },
    when_true=SALESFORCE_CONTACT.when_true,
    texts=("description",),
)

SALESFORCE_PERSON_ACCOUNT = Layout(
    labels={
        "salutation": "Salutation",
        "personpronouns": "Pronouns",
        "persontitle": "Title",
        "persondepartment": "Department",
        "industry": "Industry",
        "personmailingcity": "City",
        "billingcity": "City",
        "shippingcity": "City",
        "personothercity": "City",
        "personmailingstate": "State",
        "billingstate": "State",
        "shippingstate": "State",
        "personmailingcountry": "Country",
        "personothercountry": "Country",
        "billingcountry": "Country",
        "shippingcountry": "Country",
        "personbirthdate": "Birthdate",
        "personassistantname": "Assistant",
        "personleadsource": "Lead source",
        "accountsource": "Lead source",
        "rating": "Rating",
        "type": "Account type",
    },
    when_true={
        "persondonotcall": "Do not call",
        "personhasoptedoutofemail": "Opted out of e-mail",
        "personhasoptedoutoffax": "Opted out of fax",
    },
    texts=("description",),
)

ZENDESK_USER = Layout(
    labels={
        "organization_name": "Company",
        "organization": "Company",
        "time_zone": "Time zone",
        "iana_time_zone": "Time zone",
        "locale": "Locale",
        "tags": "Tags",
    },
    when_true={},
    texts=("details", "notes"),
)

INTERCOM_CONTACT = Layout(
    labels={
        "job_title": "Title",
        "company_name": "Company",
        "location_city": "City",
        "location_region": "State",
        "location_country": "Country",
        "city": "City",
        "region": "State",
        "country": "Country",
        "time_zone": "Time zone",
        "language_override": "Preferred language",
        "browser_language": "Browser language",
    },
    when_true={"unsubscribed_from_emails": "Opted out of e-mail"},
)

PIPEDRIVE_PERSON = Layout(
    labels={
        "job_title": "Title",
        "company_name": "Company",
        "org_name": "Company",
        "organization": "Company",
        "postal_address_locality": "City",
        "postal_address_country": "Country",
        "birthday": "Birthdate",
        "label": "Label",
        "marketing_status": "Marketing status",
    },
    when_true={},
    texts=("notes",),
)

NEVER = re.compile(
    r"\b(passport|passeport|reisepass|driv\w+ licen[cs]e|licen[cs]e (number|no|num|id)|f[üu]hrerschein\w*"
    r"|ssn|nino|tin|ein|aadhaar|cpf|curp|dni|nie|nif|social security|national (id|insurance|identity)"
    r"|identity (card|number|document|paper)|id (card|number|no)|identification|personalausweis\w*"
    r"|tax (id|number|no|code)|vat (id|number|no)|steuer\w*"
    r"|iban|bic|swift|bank\w*|account (number|no)|routing|sort code|kontonummer"
    r"|card (number|no|num|expiry|code)|credit card|debit card|cvv2?|cvc|pin"
    r"|password|passwort|secret|token|api key|signature)\b"
)
"""Labels (lower case) of columns that are never rendered, whatever is in them."""

NOISE = re.compile(
    r"\b(ids?|guid|uuid|vids?|external key|urls?|uri|hyperlink|photo|image|avatar|picture"
    r"|latitude|longitude|geocode\w*|geolocation|postal code|post code|zip|street|fax|bounced?"
    r"|last sync\w*|sync\w* (date|time|status)|sync(ed|hronized)? (at|on)|import(ed)? (date|at|batch|id)"
    r"|timestamp|system modstamp|created ?(date|at|by|on)?|last modified\w*( date| by)?|modified (date|by)"
    r"|updated (at|date|by)|close ?date|last viewed\w*|last referenced\w*|record type|checksum|hash)\b"
)
"""Labels (lower case) of columns that say nothing about the person."""

BLANKS = frozenset({"", "null", "n/a", "-", "--", "--none--", "[not provided]", "[[unknown]]"})
"""Values (lower case) that mean an empty cell. ``none`` is not one: it answers "preferred contact"."""

TRUE = frozenset({"1", "true", "yes", "y", "t", "checked"})
UNCHECKED = frozenset({"0", "false"})
"""An unticked check box is the default and tells nothing."""

FREE_MAIL = frozenset(
    """
    126.com 163.com aol.com att.net bigpond.com bluewin.ch bol.com.br btinternet.com comcast.net cox.net email.com
    fastmail.com foxmail.com free.fr freenet.de gmail.com gmx.at gmx.ch gmx.com gmx.de gmx.net googlemail.com hey.com
    hotmail.co.uk hotmail.com hotmail.de hotmail.es hotmail.fr hotmail.it icloud.com inbox.ru laposte.net libero.it
    list.ru live.co.uk live.com live.fr live.nl mac.com mail.com mail.de mail.ru me.com msn.com naver.com orange.fr
    outlook.com outlook.de outlook.es outlook.fr posteo.de proton.me protonmail.ch protonmail.com qq.com rambler.ru
    rediffmail.com rocketmail.com sbcglobal.net seznam.cz sfr.fr sky.com t-online.de telenet.be terra.com.br tiscali.it
    tutanota.com uol.com.br verizon.net virgilio.it virginmedia.com wanadoo.fr web.de wp.pl yahoo.ca yahoo.co.in
    yahoo.co.jp yahoo.co.uk yahoo.com yahoo.com.br yahoo.de yahoo.es yahoo.fr yahoo.it yandex.ru ymail.com zoho.com
    ziggo.nl
    """.split()  # noqa: SIM905 - a list of a hundred names reads better so
)
"""Domains at which anybody has an address: that a colleague has one there says nothing of the others."""
