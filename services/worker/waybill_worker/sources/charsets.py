"""The characters of a page: its mark, what it was sent as, what it declares, else what its bytes look like."""

from __future__ import annotations

import codecs
import re

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_DECLARED_WITHIN_BYTES = 4_096
_DECLARED = re.compile(rb"<meta\b[^>]{0,500}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_XML_DECLARED = re.compile(rb"\s*<\?xml\b[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]{1,40})", re.IGNORECASE)
_PARAMETER = re.compile(r";\s*charset\s*=\s*\"?\s*([\w.:-]{1,40})", re.IGNORECASE)
_JUDGED_BYTES = 64 * 1024
_LAST_RESORT = "cp1252"

# Browsers read the first as the second, which has letters where the first has control characters.
_WIDENED = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
# Python knows encodings that are none of characters, or that cost their length squared.
_KNOWN = frozenset(
    [
        "utf-8",
        "utf-16",
        "utf-16-le",
        "utf-16-be",
        "cp1250",
        "cp1251",
        "cp1252",
        "cp1253",
        "cp1254",
        "cp1255",
        "cp1256",
        "cp1257",
        "cp1258",
        "cp866",
        "cp874",
        "koi8-r",
        "koi8-u",
        "mac-roman",
        "mac-cyrillic",
        "iso8859-2",
        "iso8859-3",
        "iso8859-4",
        "iso8859-5",
        "iso8859-6",
        "iso8859-7",
        "iso8859-8",
        "iso8859-10",
        "iso8859-13",
        "iso8859-14",
        "iso8859-15",
        "iso8859-16",
        "gb18030",
        "big5",
        "big5hkscs",
        "euc_jp",
        "iso2022_jp",
        "cp932",
        "cp949",
    ]
)
_LIKELY = ["cp1252", "cp1250", "cp1251", "koi8-r", "cp932", "euc_jp", "gb18030", "big5", "cp949", "cp1253", "cp1256"]


def decode_page(data: bytes, media_type: str = "") -> tuple[str, int]:
    """The characters of a page, and how many places of it could not be read and were replaced."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _replacing(data[len(mark) :], encoding)
    sent = _PARAMETER.search(media_type)
    head = data[:_DECLARED_WITHIN_BYTES]
    declared = _DECLARED.search(head) or _XML_DECLARED.match(head)
    told = [_known(sent[1]) if sent else "", _known(declared[1].decode("ascii")) if declared else ""]
    if told[1].startswith("utf-16"):
        # The declaration was found byte by byte, so it is wrong.
        told[1] = "utf-8"
    for encoding in dict.fromkeys([*filter(None, told), "utf-8"]):
        try:
            return data.decode(encoding), 0
        except UnicodeDecodeError:
            continue
    return _replacing(data, next(filter(None, told), "") or _looks_like(data))


def _replacing(data: bytes, encoding: str) -> tuple[str, int]:
    text = data.decode(encoding, "replace")
    return text, max(0, text.count("\N{REPLACEMENT CHARACTER}") - data.count("\N{REPLACEMENT CHARACTER}".encode()))


def _known(label: str) -> str:
    """The encoding that a label means, or nothing if it is none that pages are written in."""
    try:
        name = codecs.lookup(label).name
    except (LookupError, ValueError):
        return ""
    name = _WIDENED.get(name, name)
    return name if name in _KNOWN else ""


def _looks_like(data: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(data[:_JUDGED_BYTES], cp_isolation=_LIKELY).best()
    return best.encoding if best is not None else _LAST_RESORT
