"""The phrases, per language, by which mail clients introduce quotes and forwards and people end their mails.

English, German, French, Spanish, Italian, Portuguese, Dutch, Danish, Norwegian, Swedish, Polish, Russian, Japanese,
Chinese. Collected from the clients' own wording (Gmail, Outlook, Apple Mail, Thunderbird, Yahoo).
"""

import re

MAX_ATTRIBUTION_CHARS = 400
MAX_DEVICE_CHARS = 120
MAX_LINE_CHARS = 1_000
"""No introduction is longer; patterns are not tried on longer lines."""

_ADDRESS = re.compile(r"[^\s<>@\"(\[]+@[^\s<>@\")\]]+")
_DATE = re.compile(r"\b\d{1,2}[:.h]\d{2}\b|\b\d{1,4}[./-]\d{1,2}[./-]\d{1,4}\b|\b\d{4}\b|\d{4}年")
_LEAD = re.compile(
    r"[-*\s\"]*(?:on|at|in|am|le|el|em|il|op|den|w dniu|dnia|vào|mon|tue|wed|thu|fri|sat|sun|mo|di|mi|do|fr|sa|so"
    r"|lun|mar|mer|jeu|ven|sam|dim|mån|tis|ons|tors|fre|lör|sön|man|tir|tor|lør|søn|pon|wt|śr|czw|pt|sob|ndz|\d)\b",
    re.IGNORECASE,
)
# The verb ends the line, or a name and an address stand between it and the colon.
_VERB_LAST = re.compile(
    r"(?:wrote|writes|said|a écrit|ha scritto|escribió|escreveu|schrieb|schreef|skrev|napisał\(?a?\)?|pisze"
    r"|написала?|пишет|kirjoitti|写道|さんは書きました|のメール)(?: on .{0,60}\d.{0,20})?\s*[:：]$",
    re.IGNORECASE,
)
_VERB_THEN_NAME = re.compile(r"(?:\b|\d)(?:schrieb|schreef|skrev|написала?)\b.{1,150}[:：]$", re.IGNORECASE)
_JAPANESE = re.compile(r"\d{4}年\d{1,2}月\d{1,2}日.{0,150}@.{1,100}[:：]$")
_QUOTING = re.compile(r"(?:Quoting|Zitat von|Citando|Quoting from) .{1,150}[:：]$")
SENTENCE_END = re.compile(r"(?<![ap]\.m)(?<!\d)[.!?]$")


def is_certain_attribution(line: str) -> bool:
    """True for an unwrapped line such as "On 1 May 2020 at 10:00, Ann <ann@example.org> wrote:"."""
    if _JAPANESE.match(line):
        return True
    if not (_VERB_LAST.search(line) or _VERB_THEN_NAME.search(line)):
        return False
    return bool(_DATE.search(line)) and bool(_LEAD.match(line) or _ADDRESS.search(line))


def is_likely_attribution(line: str) -> bool:
    """True for "Ann wrote:", "Quoting Ann <ann@example.org>:"; enough when a quoted line follows."""
    if line.startswith("<"):
        return False
    if _QUOTING.match(line):
        return True
    verb = _VERB_LAST.search(line) or _VERB_THEN_NAME.search(line)
    if verb is None or verb.start() == 0:
        return False
    return len(line) <= 60 or bool(_ADDRESS.search(line) or _DATE.search(line))


_FORWARDED = (
    "forwarded message|forwarded by .{1,200}?|weitergeleitete nachricht|message transféré|mensaje reenviado"
    "|messaggio inoltrato|mensagem encaminhada|doorgestuurd bericht|videresendt (?:meddelelse|melding)"
    "|vidarebefordrat meddelande|treść przekazanej wiadomości|przekazana wiadomość|пересылаемое сообщение"
    "|転送メッセージ|转发的邮件|转发邮件"
)
_BEGIN_FORWARDED = (
    "begin forwarded message|anfang der weitergeleiteten (?:nachricht|e-mail)|début du message (?:réexpédié|transféré)"
    "|inicio del mensaje reenviado|inizio messaggio inoltrato|início da mensagem reencaminhada"
    "|begin doorgestuurd bericht|start på videresendt besked|videresendt (?:meddelelse|melding|besked)"
    "|vidarebefordrat brev|początek przekazywanej wiadomości|начало переадресованного сообщения"
    "|転送されたメッセージ|下面是被转发的邮件"
)
FORWARD = re.compile(
    rf"\s*(?:[-_=]{{2,}}\s*(?:{_FORWARDED})\s*[-_=]{{2,}}|(?:{_BEGIN_FORWARDED})\s*[:：])\s*$",
    re.IGNORECASE,
)
_ORIGINAL = (
    "original message|original appointment|reply message|ursprüngliche nachricht|originalnachricht|message d['’]origine"
    "|message original|mensaje original|messaggio originale|mensagem original|oorspronkelijk bericht"
    "|oprindelig meddelelse|opprinnelig melding|opprinnelig meddelelse|ursprungligt meddelande|originalmeddelande"
    "|wiadomość oryginalna|oryginalna wiadomość|исходное сообщение|原始邮件|元のメッセージ"
)
ORIGINAL = re.compile(
    rf"\s*(?:[-_]{{2,}}\s*(?:{_ORIGINAL})\s*[-_]{{2,}}|original message processed by .{{1,200}})\s*$",
    re.IGNORECASE,
)
FROM_LABEL = re.compile(
    r"[\s*_]*(?:from|von|de|da|van|fra|från|od|от|差出人|发件人)[*_]*\s?[:：][*_]*\s+\S",
    re.IGNORECASE,
)
OTHER_LABEL = re.compile(
    r"[\s*_]*(?:sent|date|to|cc|bcc|subject|reply-to|importance|attachments"
    r"|gesendet|datum|an|betreff|envoyé|à|objet|enviado(?: el)?|fecha|para|asunto|inviato|data|a|oggetto|assunto"
    r"|verzonden|aan|onderwerp|sendt|dato|til|emne|skickat|till|ämne|wysłano|wysłane|do|dw|temat"
    r"|отправлено|дата|кому|копия|тема|送信日時|日付|宛先|件名|发送时间|日期|收件人|抄送|主题)[*_]*\s?[:：]",
    re.IGNORECASE,
)


SUBJECT_LABEL = re.compile(
    r"[\s*_]*(?:subject|betreff|objet|asunto|oggetto|assunto|onderwerp|emne|ämne|temat|тема|件名|主题)[*_]*\s?[:：]",
    re.IGNORECASE,
)


PGP_HEAD_END = re.compile(r"\s*$")
PGP_END = re.compile(r"-----END PGP SIGNATURE-----\s*$")

RULER = re.compile(r"\s*(?:_{5,}|-{5,}|={5,}|\*{5,})\s*$")
RULERS = ("_____", "-----", "=====", "*****")
LIST_FOOTER = re.compile(
    r"unsubscribe|mailing[ -]list|mailman/listinfo|listserv|/groups?/|lists?\.\S+\.\w{2,}", re.IGNORECASE
)

SENT_FROM = re.compile(
    r"\s*(?:sent (?:from|via|with|using) (?:(?:my|a|an|the) )?[\w®™'’+-]+(?: [\w®™'’+-]+){0,5}"
    r"|get outlook for \w+.*"
    r"|(?:von meinem|gesendet von|gesendet mit|envoyé (?:de|depuis)|enviado (?:desde|do|de)|inviato (?:da|dal)"
    r"|verstuurd (?:vanaf|met)|verzonden (?:vanaf|met)|skickat från|sendt fra|wysłane z|отправлено с)"
    r" [\w®™'’+-]+(?: [\w®™'’+-]+){0,5}"
    r"|\w+から送信)\s*$",
    re.IGNORECASE,
)
DEVICE_WORDS = (
    "sent ", "get outlook", "von meinem", "gesendet", "envoyé", "enviado", "inviato", "verstuurd", "verzonden",
    "skickat", "sendt", "wysłane", "отправлено", "から送信",
)  # fmt: skip
"""One of them is in every line that SENT_FROM matches, in lower case."""

SIGN_OFF = re.compile(
    r"(?:(?:with |my |many |kind |kindest |best |warm |warmest |very |all the |thanks (?:and|&) |thank you (?:and|&) )*"
    r"(?:regards|wishes|best|thanks|thank you|cheers|sincerely|yours(?: (?:sincerely|truly|faithfully))?"
    r"|sincerely yours|thanks (?:a lot|again|in advance|so much)|many thanks)"
    r"|rgds|br|kr|thx|ta"
    r"|(?:mit )?(?:freundliche[nm]?|besten?|lieben?|vielen?|herzlichen?|schönen?) (?:gruß|grüßen?|gruss|grüssen?)"
    r"|mfg|lg|vg|(?:bien )?cordialement|bien à vous|salutations|merci"
    r"|(?:un )?saludos?(?: cordiales)?|atentamente|gracias|cordiali saluti|distinti saluti|saluti|grazie"
    r"|atenciosamente|cumprimentos|obrigad[oa]|abraços"
    r"|(?:met )?(?:vriendelijke|hartelijke) groet(?:en)?|groet(?:en|jes)?|mvg"
    r"|(?:med )?(?:venlig|vennlig|vänlig|bästa|bedste|beste) (?:hilsen|hälsning|hälsningar)|hilsen|hälsningar|mvh|vh|kh"
    r"|pozdrawiam(?: serdecznie)?|z powa[żz]aniem|с уважением|よろしくお願いいたします|敬具)\s*[,.!;、。]?$",
    re.IGNORECASE,
)
_CONTACT = re.compile(r"\S*@\S+|https?://\S+|www\.\S+|\+?\(?\d[\d\s()./-]{5,}\d")
_CONNECTOR_WORDS = (
    "of and the for to de da do das dos del della di du van von der den la le el y e und et og & at in - – — | / · •"
)
_CONNECTORS = frozenset(_CONNECTOR_WORDS.split())


def is_contact_line(line: str) -> bool:
    """True for a line that names a person, their role, company or contact data, and says nothing else.

    Strict on purpose: "Call me on Friday" below "Thanks," is text, and a line wrongly taken for text does little harm.
    """
    if line.startswith(("- ", "* ", "• ", "[")) or len(line) > 100:
        return False
    bare, contacts = _CONTACT.subn(" ", line)
    words = bare.split()
    if len(words) > 8:
        return False
    if contacts:
        return len(words) <= 4
    if line[-1] in "?!:;" or (line[-1] == "." and len(words) > 3):
        return False
    return len(words) == 1 or all(not word[:1].islower() or word.lower() in _CONNECTORS for word in words)
