"""PDF: the text of each page in reading order, and what is told of pages and files that have none to give."""

from __future__ import annotations

import pytest
from waybill_worker.sources import pdf as pdf_module
from waybill_worker.sources.excerpts import Part
from waybill_worker.sources.parsed import Note
from waybill_worker.sources.pdf import DAMAGED, ENCRYPTED, NO_TEXT, parts
from waybill_worker.sources.roots import Refusal
from worker_files import content_of, encrypted, lines_at, pdf, pdf_of_objects, stream_of, text_pdf


def pages_of(data: bytes) -> dict[int, str]:
    return {part.page: part.text for part in parts(data) if isinstance(part, Part)}


def notes_of(data: bytes) -> list[str]:
    return [note.text for note in parts(data) if isinstance(note, Note)]


def test_each_page_is_a_part_with_its_number_and_pages_without_text_are_told() -> None:
    data = text_pdf("The first page.\nIts second line.", "", "", "The (fourth) page.", "")
    assert pages_of(data) == {1: "The first page.\nIts second line.", 4: "The (fourth) page."}
    assert notes_of(data) == ["has no text on pages 2-3, 5, which may be pictures such as scans"]


LEFT = lines_at(72, 700, "Left one", "left two", "left three")
RIGHT = lines_at(330, 700, "Right one", "right two", "right three")
TITLE = lines_at(72, 760, "A title that stands over both of the columns of this page")
READ = "Left one\nleft two\nleft three\n\nRight one\nright two\nright three"


def test_columns_are_read_one_after_the_other_whatever_was_drawn_first() -> None:
    for drawn in (LEFT + RIGHT, RIGHT + LEFT):
        assert pages_of(pdf([drawn]))[1] == READ
    for drawn in (TITLE + LEFT + RIGHT, LEFT + RIGHT + TITLE, RIGHT + TITLE + LEFT):
        assert pages_of(pdf([drawn]))[1] == f"{TITLE[0][2]}\n\n{READ}"


def test_paragraphs_drawn_from_the_bottom_are_read_from_the_top() -> None:
    drawn = [lines_at(72, 700 - 90 * number, f"Paragraph {number}.", "It goes on.") for number in range(4)]
    text = pages_of(pdf([[line for lines in reversed(drawn) for line in lines]]))[1]
    assert text == "\n\n".join(f"Paragraph {number}.\nIt goes on." for number in range(4))


def test_paragraphs_and_titles_are_parted_by_what_is_between_their_lines() -> None:
    title = content_of(lines_at(72, 760, "A title"), size=18)
    text = content_of([*lines_at(72, 740, "One line", "and the next."), *lines_at(72, 700, "Another", "paragraph.")])
    assert pages_of(pdf_of_content(title + b"\n" + text)) == {
        1: "A title\n\nOne line\nand the next.\n\nAnother\nparagraph."
    }


def pdf_of_content(content: bytes) -> bytes:
    drawn = pdf([[]], compressed=False)
    return drawn.replace(b"<< /Length 0 >>\nstream\n\nendstream", stream_of(content))


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])
def test_a_file_that_opens_without_a_password_is_read_and_another_is_refused(algorithm: str) -> None:
    data = text_pdf("Kept from nobody.")
    assert pages_of(encrypted(data, "", algorithm)) == {1: "Kept from nobody."}
    with pytest.raises(Refusal, match=ENCRYPTED):
        pages_of(encrypted(data, "a password", algorithm))


def test_a_scan_is_refused_and_says_what_to_do() -> None:
    with pytest.raises(Refusal, match="recognise its text first"):
        pages_of(text_pdf("", ""))


@pytest.mark.parametrize("data", [b"%PDF-1.7 and so on", text_pdf("A page.")[:150], b"%PDF-" + b"\0" * 10_000])
def test_a_file_that_is_cut_off_or_no_pdf_is_refused(data: bytes) -> None:
    with pytest.raises(Refusal, match=DAMAGED):
        pages_of(data)


def test_a_page_that_cannot_be_read_is_told_and_the_others_count() -> None:
    broken = stream_of(content_of(lines_at(72, 700, "Lost."))).replace(b"/FlateDecode", b"/NoSuchDecode")
    resources = b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count 2 /Kids [3 0 R 5 0 R] /MediaBox [0 0 595 842] " + resources + b" >>",
        b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R >>",
        broken,
        b"<< /Type /Page /Parent 2 0 R /Contents 6 0 R >>",
        stream_of(content_of(lines_at(72, 700, "Found."))),
    ]
    data = pdf_of_objects(objects)
    assert pages_of(data) == {2: "Found."}
    assert notes_of(data) == ["could not be read on page 1"]


def test_a_tree_of_pages_that_holds_itself_ends() -> None:
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count 999999999 /Kids [2 0 R 3 0 R] >>",
        b"<< /Type /Pages /Count 999999999 /Kids [2 0 R 3 0 R] >>",
    ]
    with pytest.raises(Refusal, match=DAMAGED):
        pages_of(pdf_of_objects(objects))


def test_given_more_pages_than_are_taken_then_the_first_count_and_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_module, "MAX_PAGES", 3)
    data = text_pdf(*(f"Page {number}." for number in range(5)))
    assert list(pages_of(data)) == [1, 2, 3]
    assert "was cut" in notes_of(data)[0]


def test_given_a_page_used_by_ten_to_the_twelfth_then_the_first_count() -> None:
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>"]
    objects += [f"<< /Type /Pages /Count 10 /Kids [{f'{n + 3} 0 R ' * 10}] >>".encode() for n in range(12)]
    objects.append(b"<< /Type /Page /MediaBox [0 0 9 9] /Contents 15 0 R /Resources << /Font << /F1 16 0 R >> >> >>")
    objects.append(stream_of(content_of([(1, 1, "ha ha")])))
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    assert len(pages_of(pdf_of_objects(objects))) == pdf_module.MAX_PAGES


def test_a_content_that_unpacks_past_reason_is_not_unpacked() -> None:
    import zlib

    packed = zlib.compress(zlib.compress(b"\0" * 200_000_000, 9), 9)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
        b"<< /Type /Page /MediaBox [0 0 9 9] /Contents 4 0 R >>",
        f"<< /Length {len(packed)} /Filter [/FlateDecode /FlateDecode] >>\nstream\n".encode() + packed + b"\nendstream",
    ]
    with pytest.raises(Refusal, match=f"{DAMAGED}|{NO_TEXT}"):
        pages_of(pdf_of_objects(objects))
