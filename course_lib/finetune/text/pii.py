"""Personal data in a text: found by rules, replaced by typed placeholders such as ``[EMAIL]``.

What has a check sum or a grammar (card, IBAN, e-mail, phone) is found by it; addresses
by :mod:`addresses`; names by a gazetteer of first names, by cues ("my name is", "Mr", a signature)
and by capitalised words that no dictionary knows. Rules miss things: measure on your own texts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import regex  # type: ignore[import-untyped, unused-ignore]

from course_lib.errors import UnknownNameError
from course_lib.finetune.text.addresses import find_addresses
from course_lib.finetune.text.names import find_names

KINDS = ("EMAIL", "IBAN", "CARD", "PHONE", "ORDER", "ADDRESS", "NAME")  # first come, first served


class Pii(NamedTuple):
    """One item: ``text[start:end]`` (characters), its kind (one of ``KINDS``) and the text."""

    start: int
    end: int
    kind: str
    text: str


# --- e-mail, IBAN, card, phone, order number -------------------------------------------------
_AT = (
    r"(?:\s?[@\uff20]\s?|\s?[\[({<]\s?(?:at|@|a)\s?[\])}>]\s?"
    r"|\s(?:at|AT)\s(?=[\w-]+\s(?:dot|DOT)\s)"
    r"|(?<=\b(?:mail|login|account|address)(?: is|'s|:|,)? [\w.+-]{1,30})\sat\s(?=[\w-]+\.\p{L}))"
)
_DOT = r"(?:\.|\s?[\[({]\s?(?:dot|\.)\s?[\])}]\s?|\s(?:dot|DOT)\s)"
_EMAIL = regex.compile(
    rf"(?<![\w+%'-])(?<!\w\.)[\w+%'-]++(?:(?:{_DOT}| (?:underscore|dash|hyphen) )[\w+%-]+)*"
    rf"{_AT}[\p{{L}}\d-]+(?:{_DOT}[\p{{L}}\d-]+)*{_DOT}\p{{L}}{{2,}}",
    regex.I,
)
_CARD = regex.compile(r"(?<![\w+])\d(?:[\p{Zs}\n./\u2010-\u2013-]{0,2}\d){12,18}(?!\w)")
_IBAN = regex.compile(
    r"(?<![\p{L}\d])\p{L}{2}[ -]?\d\d(?:[\p{Zs}\n./-]{0,2}[A-Z\d]){11,30}", regex.I
)
# Length of an IBAN by country: SWIFT, IBAN Registry (ISO 13616).
_IBAN_REGISTRY = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 "
    "DK18 DO28 EE20 EG29 ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 "
    "IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LI21 LT20 LU20 LV21 MC27 MD24 ME22 "
    "MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SE24 SI19 "
    "SK24 SM27 TN24 TR26 UA29 VA22 VG24 XK20"
)
_IBAN_LENGTHS = {code[:2]: int(code[2:]) for code in _IBAN_REGISTRY.split()}
_PHONE = regex.compile(
    r"(?<![\w£$€#-])\(?[+\dO]"
    r"(?:(?:[\p{Zs}()./\u2010-\u2013-]{0,2}| [-\u2013] )[\dO]){7,15}(?![\d%]|-\w)"
)
_DIGITS = "zero|oh|o|nought|one|two|three|four|five|six|seven|eight|nine"
_SPOKEN = regex.compile(
    rf"(?<![\w.-])(?:(?:double |triple )?(?:{_DIGITS}|hundred|\d{{1,6}})\b[\s,.-]*){{3,15}}",
    regex.I,
)
_CALL = regex.compile(r"\b(?:call|callback|ring|rung|tel|telephone|phone|mobile|mob|cell|number"
                      r"|text|txt|whatsapp|fax|sms|msgs?|nr|line)\b", regex.I)  # fmt: skip
_GOODS = regex.compile(
    r"(?i)\b(?:tracking|item|batch|serial|ean|barcode|voucher|model|sku|invoice|consignment)\b"
)
_DATE = regex.compile(r"\b\d{1,4}[./-]\d{1,2}[./-]\d{2,4}\b")
_ORDER = regex.compile(
    r"\b[A-Z]{2,3}-\d{4,8}\b(?!(?<=, ?[A-Z]{1,2}-\d{4,5}) (?-i:\p{Lu}\p{Ll}))"  # CH-3818 Wengen
    r"|(?<=\border (?:no\.? |number |nr\.? |#)?#?)\d{5,10}\b",
    regex.I,
)


def luhn(digits: str) -> bool:
    """Say whether a string of digits passes the Luhn check of card numbers (ISO/IEC 7812-1)."""
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def iban_holds(iban: str) -> bool:
    """Say whether an IBAN without spaces has its country's length and remainder 1 mod 97.

    ISO 7064 MOD 97-10: the first four characters go to the end, A is 10, Z is 35.
    """
    iban = iban.upper()
    if len(iban) != _IBAN_LENGTHS.get(iban[:2]) or not iban[2:4].isdigit():
        return False
    return int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 == 1


def _cards(text: str) -> Iterable[tuple[int, int]]:
    for m in _CARD.finditer(text):
        digits = regex.sub(r"\D", "", m.group())
        if luhn(digits) and len(set(digits)) > 1:
            yield m.span()


def _ibans(text: str) -> Iterable[tuple[int, int]]:
    for m in _IBAN.finditer(text):
        for end in range(m.end(), m.start() + 14, -1):
            compact = regex.sub(r"[^A-Za-z\d]", "", text[m.start() : end])
            if text[end - 1].isalnum() and compact.isascii() and iban_holds(compact):
                yield m.start(), end
                break


def _phones(text: str) -> Iterable[tuple[int, int]]:
    import phonenumbers

    def possible(number: str) -> bool:
        try:
            return phonenumbers.is_possible_number(phonenumbers.parse(number, "GB"))
        except phonenumbers.NumberParseException:
            return False

    for m in _PHONE.finditer(text):
        digits = regex.sub(r"\D", "", m.group().replace("O", "0").replace("(0)", ""))
        sure = m.group().lstrip("(")[0] in "+0"
        before = text[max(0, m.start() - 30) : m.start()]
        cue = bool(_CALL.search(before))
        if _GOODS.search(before):
            continue
        if not 9 <= len(digits) <= 15 or _DATE.match(m.group()) or not (sure or cue):
            continue
        international = "+" + digits.removeprefix("00")
        if possible(digits) or possible(international):
            open_only = m.group().count("(") > m.group().count(")")
            yield m.start() + open_only * m.group().startswith("("), m.end()
    for m in _SPOKEN.finditer(text):
        words = regex.findall(r"\p{L}+|\d", m.group().lower())
        count = sum({"double": 1, "triple": 2, "hundred": 2}.get(w, 1) for w in words)
        if count >= 9 and sum(w.isalpha() for w in words) >= 3:
            yield m.start(), m.start() + len(m.group().rstrip(" ,.-\n"))


# --- all kinds -------------------------------------------------------------------------------
def find_pii(
    text: str, *, kinds: Collection[str] = KINDS, house: Collection[str] = ()
) -> list[Pii]:
    """Give the personal data in ``text`` by place; no two items overlap.

    Args:
        kinds: which of ``KINDS`` to look for.
        house: words in lower case that are no names (``names.house_words`` finds them).

    Raises:
        UnknownNameError: for a kind that is not one of ``KINDS``.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UnknownNameError("kind of personal data", kind, KINDS)
    found: list[Pii] = []
    rest = text  # what is found is blanked out, so that later rules do not see it
    for kind in KINDS:
        for start, end in _spans(kind, rest, house) if kind in kinds else ():
            if "\0" not in rest[start:end]:
                found.append(Pii(start, end, kind, text[start:end]))
                rest = rest[:start] + "\0" * (end - start) + rest[end:]
    return sorted(found)


def _spans(kind: str, text: str, house: Collection[str]) -> Iterable[tuple[int, int]]:
    rules = {"IBAN": _ibans, "CARD": _cards, "PHONE": _phones, "ADDRESS": find_addresses}
    if kind == "NAME":
        return find_names(text, house)
    if kind in rules:
        return rules[kind](text)
    return (m.span() for m in {"EMAIL": _EMAIL, "ORDER": _ORDER}[kind].finditer(text))


def replace_pii(text: str, items: Sequence[Pii]) -> str:
    """Put ``[KIND]`` in the place of each item of :func:`find_pii`."""
    for item in sorted(items, reverse=True):
        text = f"{text[: item.start]}[{item.kind}]{text[item.end :]}"
    return text
