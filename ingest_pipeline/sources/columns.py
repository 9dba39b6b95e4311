"""Which columns of a CRM person become ``Label: value`` lines, and under which label. Data only: extend it here.

Left out on purpose: ids, system stamps, links, photos, geocodes, address blobs, streets and post codes, e-mail
addresses and phone numbers (they identify, they say nothing), and, always, numbers of identity papers, cards and
bank accounts. Column names are lower case.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layout:
    """How one kind of person is rendered.

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

HUBSPOT_CONTACT = Layout(
    labels={
        "salutation": "Salutation",
        "jobtitle": "Title",
        "company": "Company",
        "job_function": "Job function",
        "seniority": "Seniority",
        "hs_seniority": "Seniority",
        "industry": "Industry",
        "numemployees": "Company employees",
        "company_size": "Company employees",
        "annualrevenue": "Company annual revenue",
        "city": "City",
        "state": "State",
        "country": "Country",
        "hs_timezone": "Time zone",
        "hs_language": "Preferred language",
        "preferred_channel": "Preferred contact",
        "date_of_birth": "Birthdate",
        "gender": "Gender",
        "marital_status": "Marital status",
        "relationship_status": "Relationship status",
        "military_status": "Military status",
        "degree": "Degree",
        "field_of_study": "Field of study",
        "graduation_date": "Graduation date",
        "school": "School",
        "work_email_preference": "E-mail preference",
        "hs_persona": "Persona",
        "hs_buying_role": "Buying role",
        "lifecyclestage": "Lifecycle stage",
        "hs_lead_status": "Lead status",
    },
    when_true={"hs_email_optout": "Opted out of e-mail", "do_not_call": "Do not call"},
    texts=("message", "notes", "description"),
)

HUBSPOT_SYSTEM = re.compile(
    r"(?:hs_|fivetran_|associated|num_|number_of_|first_(?!name)|last_(?!name)|recent_|latest_|original_|total_|days_|time_"
    r"|date_(?:entered|exited)|cumulative_|hubspot|became_an?_|marketing_contact|membership_|record_|owner_|create_?date"
    r"|created|updated|lastmodified|notes_(?:last|next)|engagements_|ip_|twitter|facebook|linkedin|google|klout|follower"
    r"|webinar|survey|currently|ad_|gclid|hashed|portal|is_deleted|closed?ate|email(?!_preference)|assigned_to|category\Z"
    r"|(?:id|address2?|fax|firstname|lastname|mobilephone|phone|website|zip|name|next_activity_date|source|timestamp)\Z"
    r"|.*_(?:owner|team|owner_assigned_date)\Z)"
)
"""Names of HubSpot's own bookkeeping among the columns: its exports do not tell them from the company's own."""

HUBSPOT_UI_NAMES: Mapping[str, str] = {
    # label in an export from the screen -> name of the property
    "record id": "id",
    "contact id": "id",
    "vid": "id",
    "hs_object_id": "id",
    "first name": "firstname",
    "last name": "lastname",
    "company name": "company",
    "job title": "jobtitle",
    "job function": "job_function",
    "additional email addresses": "hs_additional_emails",
    "phone number": "phone",
    "mobile phone number": "mobilephone",
    "mobile phone": "mobilephone",
    "state/region": "state",
    "country/region": "country",
    "postal code": "zip",
    "street address": "address",
    "street address 2": "address2",
    "time zone": "hs_timezone",
    "preferred language": "hs_language",
    "language": "hs_language",
    "preferred channels": "preferred_channel",
    "preferred channel": "preferred_channel",
    "date of birth": "date_of_birth",
    "birthday": "date_of_birth",
    "marital status": "marital_status",
    "relationship status": "relationship_status",
    "military status": "military_status",
    "field of study": "field_of_study",
    "graduation date": "graduation_date",
    "employment seniority": "hs_seniority",
    "number of employees": "numemployees",
    "company size": "company_size",
    "annual revenue": "annualrevenue",
    "persona": "hs_persona",
    "buying role": "hs_buying_role",
    "lifecycle stage": "lifecyclestage",
    "lead status": "hs_lead_status",
    "unsubscribed from all email": "hs_email_optout",
    "do not call": "do_not_call",
    "website url": "website",
    "create date": "createdate",
    "last modified date": "lastmodifieddate",
    "hs_lastmodifieddate": "lastmodifieddate",
    "hs_createdate": "createdate",
    "merged contact ids": "hs_merged_object_ids",
    "merged record ids": "hs_merged_object_ids",
    "merged vids": "hs_calculated_merged_vids",
    "calculated merged contact ids with timestamps of merge": "hs_calculated_merged_vids",
    "merged contact ids with timestamps of merge": "hs_calculated_merged_vids",
    "note body": "hs_note_body",
    "activity date": "hs_timestamp",
    "associated contact ids": "associated_contact_ids",
    "engagement_id": "id",
}

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
