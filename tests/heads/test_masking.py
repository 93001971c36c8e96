import pytest

from nlp_helpers.heads import masking
from nlp_helpers.heads.token_labels import Span


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("mail a.b+c@mail.example.com.", ["a.b+c@mail.example.com"]),
        ("see www.example.com/a?b=1, or", ["www.example.com/a?b=1"]),
        ("(https://example.org/)", ["https://example.org/"]),
        ("call +1 (555) 010-0123 now", ["+1 (555) 010-0123"]),
        ("call 555-0142.", ["555-0142"]),
        ("212 pages, 199.99 dollars, 2004-05", []),
        ("model DSC-54001234 of 2004", []),
        ("the mail @ home", []),
    ],
)
def test_what_has_a_form_of_its_own_is_found(text, found):
    spans = masking.find_patterns(text)
    assert [text[span.start : span.end] for span in spans] == found


def test_a_pattern_takes_the_place_of_what_overlaps_it():
    mail, part, name = Span(5, 20, "EMAIL"), Span(5, 7, "X"), Span(0, 3, "Y")
    assert masking.merge([mail], [part, name]) == [name, mail]
    assert masking.merge([mail], [Span(20, 22, "X")])[1].label == "X"


def test_spans_are_replaced_by_their_labels():
    text = "I am Ann from Oslo."
    spans = [Span(5, 8, "NAME"), Span(14, 18, "CITY")]
    assert masking.mask(text, spans) == "I am [NAME] from [CITY]."
    assert masking.mask(text, []) == text


def test_what_is_hidden_in_part_is_still_seen():
    expected = [Span(0, 4, "A"), Span(5, 9, "B")]
    found = [Span(0, 2, "C"), Span(2, 4, "D"), Span(5, 8, "B")]
    assert masking.left_in_sight(expected, found) == expected[1:]
