"""What WhatsApp itself writes into exports, apart from what people wrote: media, deleted and system texts.

iPhones put U+200E before every text of the app; Android puts media into angle brackets. Both hold in all languages;
the phrases here are for texts that have neither.
"""

import re

_LRM = "\u200e"
_NAME = re.compile(r"(?P<name>[^\n]{0,200}?[^\s:]):(?: |\u00a0|(?=\n)|\Z)")
_QUOTES = (("“", "”"), ("«", "»"), ("„", "“”"), ("「", "」"))
_OPENING = re.compile('["“«„「]')
_IN_BRACKETS = re.compile(rf"{_LRM}?<[^<>\n]{{3,200}}>")
_MARKED_PART = re.compile(rf"[ \t]*{_LRM}<[^<>\n]{{3,200}}>")
_EDITED = re.compile(
    r"\s*<(?:This message was edited|Diese Nachricht wurde bearbeitet|Se editó este mensaje|Este mensaje fue editado|"
    r"Ce message a été modifié|Questo messaggio è stato modificato|(?:Esta )?[Mm]ensagem (?:foi )?editada|"
    r"Dit bericht is bewerkt|Сообщение изменено|Данное сообщение изменено|Bu mesaj düzenlendi|Pesan ini diedit)\.?>\Z"
)
_OMITTED = re.compile(
    r"(?:image|video|audio|sticker|gif|document|contact card|voice message) omitted|"
    r"(?:bild|video|audio|sticker|gif|dokument|kontaktkarte) (?:weggelassen|ausgelassen)|"
    r"(?:imagen|vídeo|video|audio|sticker|gif|documento|tarjeta de contacto) omitid[oa]|"
    r"(?:image|vidéo|audio|autocollant|gif|document|fiche contact) (?:absente?|omise?|manquante?)|"
    r"(?:immagine|video|audio|sticker|gif|documento|scheda contatto) omess[oa]|"
    r"(?:imagem|vídeo|áudio|figurinha|gif|documento|cartão do contato) (?:ocultad[oa]|omitid[oa])|"
    r"(?:afbeelding|video|audio|sticker|gif|document|contactkaart) weggelaten|null",
    re.IGNORECASE,
)
_ATTACHED = re.compile(
    r"(?:(?:IMG|VID|AUD|PTT|STK|DOC)-\d{8}-WA\d+\.\w{2,5} \([^()\n]{3,40}\)|[^\n]{1,200}\.\w{2,5} \((?:"
    r"file attached|Datei angehängt|archivo adjunto|fichier joint|file allegato|(?:arquivo|ficheiro) anexado|"
    r"bestand bijgevoegd|(?:załączono plik|plik dołączony)|dosya ekli|файл добавлен|файл додано|fil bifogad|"
    r"fil vedhæftet|fil vedlagt|tiedosto liitteenä|file terlampir|"
    r"文件附件|檔案附件|ファイルが添付されています|파일 첨부됨|"
    r"קובץ מצורף|ملف مرفق)\))(?=\n|\Z)",
    re.IGNORECASE,
)
_DELETED = frozenset(
    """
    this message was deleted|you deleted this message|diese nachricht wurde gelöscht|du hast diese nachricht gelöscht|
    este mensaje fue eliminado|se eliminó este mensaje|eliminaste este mensaje|ce message a été supprimé|
    vous avez supprimé ce message|questo messaggio è stato eliminato|hai eliminato questo messaggio|mensagem apagada|
    esta mensagem foi apagada|você apagou esta mensagem|esta mensagem foi eliminada|eliminou esta mensagem|
    dit bericht is verwijderd|je hebt dit bericht verwijderd|u hebt dit bericht verwijderd|tämä viesti poistettiin|
    poistit tämän viestin|detta meddelande raderades|du raderade detta meddelande|denne besked blev slettet|
    du slettede denne besked|denne meldingen ble slettet|du slettet denne meldingen|ta wiadomość została usunięta|
    usunięto tę wiadomość|bu mesaj silindi|bu mesajı sildiniz|данное сообщение удалено|это сообщение удалено|
    вы удалили это сообщение|вы удалили данное сообщение|це повідомлення видалено|ви видалили це повідомлення|
    tato zpráva byla smazána|ezt az üzenetet törölték|acest mesaj a fost șters|αυτό το μήνυμα διαγράφηκε|הודעה זו נמחקה|
    מחקת הודעה זו|تم حذف هذه الرسالة|لقد حذفت هذه الرسالة|pesan ini telah dihapus|anda menghapus pesan ini|
    このメッセージは削除されました|이 메시지는 삭제되었습니다|삭제된 메시지입니다|此消息已被删除|此訊息已刪除|
    你删除了这条消息|您已刪除此訊息
    """.replace("\n", "").replace("    ", "").strip().split("|")
)  # fmt: skip

EXPORTER = frozenset(
    """
    You Me Myself Du Ich Sie Usted Vous Toi Moi Você Jij Jou Ik Dig Jeg Deg Minä Sinä Já Ön Én Siz Jūs Dumneavoastră
    Вы Ты Я Ви Ти Вие Εσείς Εσύ Εγώ אתה את אני أنت أنا شما من आप मैं আপনি คุณ ฉัน Bạn Tôi
    您 你 我 あなた 自分 私 나 당신 회원님
    """.split()  # noqa: SIM905 - pronouns read better so
)
"""What stands for the name of who exported the chat: "you" or "I" in the app's languages, as they are written there.

Left out are those that are people's names as well (Turkish Ben, Polish Ty, Estonian Sina, Indonesian Anda and Saya,
Croatian Vi, Czech Vy, Italian Tu, Lei and Io, Spanish Tú and Yo, Swedish Jag).
"""


def split_name(rest: str) -> tuple[str, str] | None:
    """``(name, text)`` of what follows a header; None for a line of the app's, which names nobody.

    A colon after a space belongs to the name ("Ann : work"), one in quotation marks to an event (a new subject "A: B").
    """
    match = _NAME.match(rest)
    if match is None or _in_quotation(match["name"]):
        return None
    return match["name"], rest[match.end() :]


def _in_quotation(before: str) -> bool:
    if not _OPENING.search(before):
        return False
    return before.count('"') % 2 == 1 or any(
        before.rfind(opening) > max(before.rfind(each) for each in closing) for opening, closing in _QUOTES
    )


def own_words(text: str) -> tuple[str, str]:
    """``(what the person wrote, reason)``: the reason says why nothing is left. Captions of media are kept."""
    text = text.strip()
    if "<" in text:
        text = _EDITED.sub("", text)
        if _IN_BRACKETS.fullmatch(text):
            return "", "media"
        text = _MARKED_PART.sub("", text).strip()
    if text.startswith(_LRM):
        text = text.partition("\n")[2]
        return (text.replace(_LRM, "").strip(), "") if text.strip(" \n" + _LRM) else ("", "system_line")
    if text.endswith(")") or ")\n" in text:
        match = _ATTACHED.match(text)
        if match is not None:
            text = text[match.end() :].strip()
            return text, "" if text else "media"
    if len(text) < 80:
        if not text:
            return "", "empty"
        if _OMITTED.fullmatch(text):
            return "", "media"
        if text.rstrip(".。").casefold() in _DELETED:
            return "", "deleted"
    return text, ""
