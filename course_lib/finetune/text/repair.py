"""Repairs of one text: HTML, mojibake, control characters, quoted mail, white space.

Each function takes a text and gives the repaired one; what needs no repair comes back as it was.
"""

from __future__ import annotations

import html
import quopri
import unicodedata
from typing import Any

import regex  # type: ignore[import-untyped, unused-ignore]

# --- HTML ------------------------------------------------------------------------------------
_TAG_NAMES = (
    "a abbr article b base big blockquote body br button caption center cite code col dd del"
    " details dfn div dl dt em embed figure font footer form frame h1 h2 h3 h4 h5 h6 head header hr"
    " html i iframe img input ins kbd li link main mark meta nav o:p object ol option p param pre"
    " q s samp script section select small span strike strong style sub sup svg table tbody td"
    " textarea tfoot th thead title tr tt u ul var video wbr"
)
_TAGS = _TAG_NAMES.split()
_TAG = regex.compile(
    rf"<(?:/?(?:{'|'.join(_TAGS)})(?=[\s/>])[^<>]*|!--.*?--|![^<>]*)>?", regex.I | regex.S
)
_BLOCKS = "br p div li tr td th ul ol h1 h2 h3 h4 blockquote".replace(" ", ",")
_UNSEEN = ["script", "style", "del", "strike", "head", "title"]
_BBCODE = regex.compile(
    r"\[/?(?:b|i|u|s|url|img|quote|color|size|font|list|center)(?:=[^\]\n]*)?\]"
    r"|\[(?:cid|image):[^\]\n]*\]",
    regex.I,
)
_CSS = regex.compile(r"(?:^|(?<=\s))[.#@]?[\w.#:, -]+\{[^{}]*:[^{}]*\}")


def repair_html(text: str) -> str:
    """Take tags, comments, styles and entities out; line breaks and cells become line breaks."""
    for _ in range(4):  # "&amp;lt;br&amp;gt;" takes three turns
        before = text
        text = _without_tags(text) if _TAG.search(text) else text
        text = _CSS.sub("", _BBCODE.sub("", text))
        text = regex.sub(r"&#?\w+;", lambda m: html.unescape(m[0]), text)
        if text == before:
            break
    return text


def _without_tags(text: str) -> str:
    from bs4 import BeautifulSoup, Comment

    tags = "|".join(_TAGS)
    guarded = regex.sub(rf"(?i)<(?!/?(?:{tags})[\s/>]|!)", "&lt;", text)
    soup = BeautifulSoup(guarded, "html.parser")
    comments = soup.find_all(string=lambda s: isinstance(s, Comment))
    for node in [*soup.find_all(_UNSEEN), *comments]:
        node.extract()
    for tag in soup.select(_BLOCKS):
        tag.insert_before("\n")
        tag.append("\n")
    return str(regex.sub(r"\n\s*(?=[.,;:!?](?:\s|$))", "", soup.get_text()).strip())


# --- mojibake --------------------------------------------------------------------------------
_CODECS: tuple[str, ...] = (
    "cp1252",
    "latin-1",
    "mac_roman",
    "koi8-r",
    "cp1251",
    "cp437",
    "cp850",
    "cp852",
    "cp866",
)
_CODECS += ("cp1250", "cp1253", "cp1254", "gbk", "big5", "shift_jis", "euc_kr")
_RUN = regex.compile(r"[^\x00-\x7f]{2,}|[^\x00-\x7f]{1,8}[a-z]?")
_CONTRACTED = regex.compile(
    r"(?i)(?<=\b(?:(?:do|does|did|is|are|was|were|have|has|had|wo|ca|could|should|would|must|need)n))"
    r"([^\x00-\x7f]{1,6}|[?^])(?=t\b)"
    r"|(?<=\b(?:it|that|there|what|who|where|here|how|he|she|let))([^\x00-\x7f]{1,6}|[?^])(?=s\b)"
    r"|(?<=\b(?:i|you|we|they|he|she|it|that))([^\x00-\x7f]{1,6}|[?^])(?=(?:m|ve|re|ll|d)\b)"
)


def _redecode(run: regex.Match[str]) -> str:
    """Give UTF-8 that was read in an old encoding its characters back."""
    for codec in _CODECS:
        try:
            found = run.group().encode(codec).decode("utf-8")
        except UnicodeError:
            continue
        if (
            found != run.group()
            and len(found) <= len(run.group())
            and all(
                c < "\u0250" or c in "€\u2013\u2014\u2018\u2019\u201a\u201c\u201d\u201e…•™\u202f"
                for c in found
            )
        ):
            return str(found)
    return str(run.group())


def _escapes(text: str) -> str:
    """Undo quoted-printable, ``\\u2019``, ``\\r\\n``, ``%C2%A3`` and encoded mail words."""
    from email.header import decode_header, make_header
    from urllib.parse import unquote

    if regex.search(r"=\?[\w-]+\?[QqBb]\?", text):
        text = str(make_header(decode_header(text)))
    if regex.search(r"=(?:[89A-F][0-9A-F]|20|3D|0A|\n)", text) and text.isascii():
        raw = quopri.decodestring(text.encode())
        text = raw.decode("utf-8") if _is_utf8(raw) else raw.decode("cp1252", "replace")
    if regex.search(r"%(?:[89A-F][0-9A-F]|20)", text):
        text = unquote(text)
    code = r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})|[%\\]?u(20[12][0-9a-f]|00[a-f][0-9a-f])"
    text = regex.sub(code, lambda m: chr(int(m[1] or m[2] or m[3], 16)), text)
    if not regex.search(r"\b[A-Za-z]:\\", text):  # a Windows path is no escape
        text = regex.sub(r"\\r\\n|\\[nrt]", "\n", text)
    text = regex.sub(r"\\(['\"/])", r"\1", text)
    return str(regex.sub(r"\+((?:[A-Za-z0-9/]{3,}))-", _utf7, text))


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _utf7(match: regex.Match[str]) -> str:
    try:
        found = match.group().encode().decode("utf-7")
    except UnicodeDecodeError:
        return str(match.group())
    return (
        found
        if found in {"£", "€", "\u2018", "\u2019", "\u201c", "\u201d", "\u2013", "\u2014"}
        else str(match.group())
    )


def repair_mojibake(text: str, *, currency: str = "£") -> str:
    """Repair characters decoded wrongly or lost, as far as the text shows what they were.

    ftfy undoes what can be undone exactly, then runs that are UTF-8 in another old encoding. What
    was lost is guessed from its place: an apostrophe in a contraction, ``currency`` before an
    amount, quotation marks around a phrase. Curly quotation marks become straight ones.
    """
    import ftfy

    config = ftfy.TextFixerConfig(
        unescape_html=False, remove_control_chars=False, fix_line_breaks=False,
        remove_terminal_escapes=False, fix_character_width=False,
    )  # fmt: skip
    text = ftfy.fix_text(_escapes(text), config)
    latin = sum(c.isascii() for c in text) * 2 > len(text)
    if latin and not text.isascii():
        text = ftfy.fix_text(_RUN.sub(_redecode, text), config)
    return _lost(text, currency) if latin else text


_LOANS = (
    "café fiancé fiancée résumé cliché décor naïve façade soirée crèche crêpe entrée rosé pâté Zoë"
    " Chloë"
)


def _lost_loan(loan: str) -> Any:
    holes = regex.sub(r"[^a-zA-Z](?=.)", r"[\\ufffd?]", loan)
    return regex.compile(r"(?i)\b" + regex.sub(r"[^!-~]$", "\ufffd", holes) + r"(?=s?(?!\w))")


_LOST_LOANS = [(_lost_loan(loan), loan) for loan in _LOANS.split()]


def _lost(text: str, currency: str) -> str:
    """Guess what a lost character was from its place."""
    text = _CONTRACTED.sub("'", text)
    for pattern, loan in _LOST_LOANS:
        text = pattern.sub(loan, text)
    # 0xA3 and 0x9C, the pound sign of Latin-1 and of code page 437, read in other code pages.
    pound = "[\ufffdúœŁś\u0408ё\u0433¬\uff63]"
    text = regex.sub(rf"{pound}(?=\d)|(?<=^|[\s(])\?(?=\d+(?:\.\d\d)?\b)", currency, text)
    # "#" has the place of the pound sign in the national form of ASCII (ISO 646-GB).
    money = "for|of|paid|pay|costs?|charged|expected|at|me|refund|spent|owe|worth|under|over|took"
    text = regex.sub(rf"(?i)(?<=\b(?:{money}) )#(?=\d)|#(?=\d+\.\d\d\b)", currency, text)
    text = regex.sub(r"(?<=\p{L})\ufffd(?=\p{L})|(?<=[a-z])[âÕÆ](?=s\b)", "'", text)
    text = regex.sub(r"(?<!\p{L})\ufffd([^\ufffd\n]{1,80}?)\ufffd(?!\p{L})", r"'\1'", text)
    text = regex.sub(r"(?<=\p{L}s?)\ufffd(?=\s)|(?<=\s)\ufffd(?=\p{L})", "'", text)
    return str(regex.sub(rf"Â+\s?(?={regex.escape(currency)})", "", text))


# --- control characters ----------------------------------------------------------------------
_TERMINAL = regex.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[@-_])")
_CONTROL = regex.compile(
    r"(?<=[\p{So}\p{Sk}\ufe0f])\u200d(?=\p{So})(*SKIP)(*FAIL)"  # joined emoji stay
    r"|(?![\n\t\r])[\p{Cc}\p{Cf}\p{Co}\ufffc\u034f\u115f\u1160\u2800\u3164\uffa0\u180e\ufffe\uffff]"
    r"|[\u2400-\u2426]|(?<=\p{Latin})\p{Mn}{2,}"
)


def strip_control(text: str) -> str:
    """Take out control, zero-width, direction and private-use characters; emoji keep their joiners.

    A backspace takes the character before it along; vertical tab and form feed become a space.
    """
    text = _TERMINAL.sub("", text)
    while "\b" in text.lstrip("\b"):
        text = regex.sub(r"[^\x08]\x08", "", text, count=1)
    text = regex.sub(r"_x000[AD]_", "\n", text)  # spreadsheets write controls so
    text = regex.sub(r"_x00[01][0-9A-F]_|(?:\^[A-Z@\[])+(?!\w)|(?<!\w)\[(?:\d[\d;]*)?m", "", text)
    text = regex.sub(r"[\x0b\x0c\x1c-\x1f\x85\u2028\u2029]", " ", text)
    return str(_CONTROL.sub("", text))


# --- quoted mail -----------------------------------------------------------------------------
_QUOTE = regex.compile(r"\s*(?:[>|»\u203a]|\w{1,3}>)")
_HEADER = regex.compile(
    r"(?i)\s*\*?(?:from|sent|date|to|cc|bcc|subject|re|reply-to|von|gesendet|an|betreff|de|envoyé|à"
    r"|objet|para|asunto|enviado|message-id|x-[\w-]+|content-type|mime-version)\*?:\*?(?=\s|$)"
)
_DIVIDER = regex.compile(
    r"(?i)\s*(?:[-_=*]{2,}\s*[\w ]*(?:original|forwarded|weitergeleitet\w*|urspr\w+|transféré"
    r"|reenviado)[\w ]*\s*[-_=*]*|(?:begin forwarded|original|forwarded) message:?|[-_=*~]{5,})\s*$"
)
_INTRO = regex.compile(
    r"(?i)\s*(?:.*\b(?:wrote|writes|schrieb|écrit|escribió|ha scritto|schreef|skrev|said)\b.*:"
    r"|.*\d{4},? .*\d\d?[:.]\d\d.*:)\s*$"
)
_SENT_FROM = regex.compile(
    r"(?i)\s*(?:sent (?:from|with|via|using) .{2,80}|get outlook for .*"
    r"|(?:von|envoyé de|enviado desde) me?i?n?.{2,60}|~+.*~+|typed on (?:my|a) .*"
    r"|gesendet (?:von|mit) .*|\[external\].*|caution: this e-?mail .*|#+-.*-#+"
    r"|.*reply above this line.*)$"
)
_OWN = regex.compile(r"(?i)\?|\b(?:i|my|me)\b")  # a line that asks, or says "I", is the sender's
_NOTICE = regex.compile(
    r"(?i)\bconfidential\b|\bdisclaimer\b|intended (?:only )?(?:for|recipient)"
    r"|\bprint (?:this|it)\b|\bvirus|\bunsubscribe\b|privileged|registered (?:in|office|charity)"
    r"|\bif you are not the\b|(?:please|do) (?:only |not )?.*\bprint|views expressed"
    r"|opinions are|scanned by|this e-?mail (?:and|is|may)"
)


def _notice(line: str) -> bool:
    return bool(_NOTICE.search(line)) and not _OWN.search(line)


def strip_quoted(text: str) -> str:
    """Take out quoted lines, mail headers, and the notes a mail program or a firm adds."""
    lines = text.replace("\r\n", "\n").split("\n")
    if len(lines) == 1:
        return str(regex.sub(r"(?<=[.!?]) Sent from my \w+(?: \w+)?\.?$", "", text))
    kept: list[str] = []
    for place, line in enumerate(lines):
        divider = bool(_DIVIDER.match(line))
        following = next((rest for rest in lines[place + 1 :] if rest.strip()), "")
        heads = bool(_HEADER.match(line)) and (bool(_HEADER.match(following)) or place == 0)
        if (divider or heads) and any(k.strip() for k in kept) and _HEADER.match(following):
            break  # below lies another mail
        if regex.fullmatch(r"-- ?", line) and any(k.strip() for k in kept):
            break  # the signature mark of RFC 3676
        intro = bool(_INTRO.match(line)) and bool(_QUOTE.match(following))
        header = bool(_HEADER.match(line)) and not any(k.strip() for k in kept)
        if not (divider or header or intro or _QUOTE.match(line) or _SENT_FROM.match(line)):
            kept.append(line)
    while kept and (not kept[-1].strip() or (len(kept) > 1 and _notice(kept[-1]))):
        kept.pop()
    left = [line for line in kept if line.strip()]
    if not left or left == [line for line in lines if line.strip()]:
        return text  # nothing of its own, or nothing taken out
    return "\n".join(kept).strip("\n")


# --- white space -----------------------------------------------------------------------------
def normalise_space(text: str) -> str:
    """Give NFC text with single spaces, no space at line ends, at most one blank line.

    A line that goes on in lower case is joined to the one before. A space before
    ``, ; : . ! ?`` goes; one missing between two sentences is put in.
    """
    text = unicodedata.normalize("NFC", text)
    text = regex.sub(r"\r\n?", "\n", text)
    text = regex.sub(r"[\p{Zs}\t\v\f]+", " ", text)
    text = regex.sub(r" *\n *", "\n", text)
    text = regex.sub(r"\n{3,}", "\n\n", text).strip()
    text = regex.sub(r"(?<=\S)\n(?=\p{Ll})", " ", text)
    text = regex.sub(r"(?<=[\p{L}\d)]) +(?=[,;:.!?](?:\s|$))", "", text)
    text = regex.sub(r"(?<=\p{Ll}{2}[.?!])(?=\p{Lu}(?:\p{Ll}+['\u2019 ,]|['\u2019 ]))", " ", text)
    return str(text)
