"""Files as they are published: packed, wrapped, exported and accompanied."""

import bz2
import gzip
import io
import json
import lzma
import subprocess
import sys
import zipfile
from contextlib import suppress

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archives import zipped, zstandard

from nlp_helpers.core.errors import UserError
from nlp_helpers.data import reading, sources
from nlp_helpers.data.fields import Wanted
from nlp_helpers.data.texts import read_texts

RATINGS = [5, 1, 3, 4, 2] * 40
REVIEWS = [
    {"asin": f"B{n % 7}", "text": f'No {n}: "fine", he\nsaid', "rating": r}
    for n, r in enumerate(RATINGS)
]


def read(path, content=None, **wanted):
    """Read one file; return its report and its rows in the file's order."""
    if content is not None:
        path.write_bytes(content)
    target = path.with_name("part.parquet")
    report = reading.read_file(path, "a", target, Wanted(**wanted))
    report.check(0.01)
    rows = pq.read_table(target).to_pylist()
    return report, sorted(rows, key=lambda row: row["record"])


def table(records, **options):
    return pd.DataFrame(records).to_csv(index=False, **options).encode()


def renamed(**names):
    return [{names[key]: r[key] for key in names} for r in REVIEWS]


def written(write, records):
    buffer = io.BytesIO()
    write(pd.DataFrame(records), buffer, index=False)
    return buffer.getvalue()


def parquet():
    return written(pd.DataFrame.to_parquet, REVIEWS)


def excel(*sheets):
    """Write each sheet, a list of rows, as it stands."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for rows in sheets:
        sheet = book.create_sheet()
        for row in rows:
            sheet.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


CELLS = [list(REVIEWS[0]), *(list(review.values()) for review in REVIEWS)]
LINES = "\n".join(map(json.dumps, REVIEWS)).encode()
FORMS = {
    "CSV": table(REVIEWS),
    "Parquet": parquet(),
    "Excel": excel([], CELLS, []),
    "CSV with pandas' index": pd.DataFrame(REVIEWS).to_csv().encode(),
    "CSV of Windows": b"\xef\xbb\xbf" + table(REVIEWS, lineterminator="\r\n"),
    "CSV with ;": table(REVIEWS, sep=";"),
    "TSV": table(REVIEWS, sep="\t"),
    "JSON lines": LINES,
    "JSON objects": json.dumps(REVIEWS, indent=2)[1:-1]
    .replace("\n  },", "\n  }")
    .encode(),
    "JSON objects in a row": b"".join(LINES.split(b"\n")),
    "JSON array": json.dumps(REVIEWS).encode(),
    "wrapped JSON": json.dumps({"n": 200, "reviews": REVIEWS}).encode(),
    "wrapped JSON deep": json.dumps(
        {"data": {"items": REVIEWS}}, indent=1
    ).encode(),
    "text blocks": "\n".join(
        "product/productId: {asin}\nreview/score: {rating}\n"
        "review/text: {text}\n".format(**review)
        for review in REVIEWS
    ).encode(),
    "wrapped JSON by key": json.dumps(
        {f"r{n}": review for n, review in enumerate(REVIEWS)}
    ).encode(),
}


@pytest.mark.parametrize("name", FORMS)
def test_usual_layouts_are_read(tmp_path, name):
    report, rows = read(tmp_path / "reviews", FORMS[name])
    assert name.startswith(str(report.form)), report.form
    slow = name.startswith(("wrapped", "text", "Excel"))
    expected = "lenient" if slow else "strict"
    assert report.reader == expected
    assert not report.dropped and not report.repaired
    assert [row["text"] for row in rows] == [r["text"] for r in REVIEWS]
    assert [row["overall"] for row in rows] == RATINGS
    assert [row["product"] for row in rows] == [r["asin"] for r in REVIEWS]


@pytest.mark.parametrize("name", ["CSV", "TSV", "JSON objects", "Parquet"])
def test_both_readers_agree(tmp_path, name, monkeypatch):
    _, strict = read(tmp_path / "reviews", FORMS[name])
    monkeypatch.setattr(reading, "_is_for_duckdb", lambda report: False)
    report, lenient = read(tmp_path / "reviews")
    assert report.reader == "lenient" and lenient == strict


@pytest.mark.parametrize(
    ("names", "text", "rating"),
    [
        (("Text", "Score"), "Text", "Score"),
        (("verified_reviews", "rating"), "verified_reviews", "rating"),
        (("review_body", "star_rating"), "review_body", "star_rating"),
        (("reviews.text", "reviews.rating"), "reviews.text", "reviews.rating"),
        (("Review Text", "Rating"), "Review Text", "Rating"),
        (("content", "score"), "content", "score"),
        (("text", "stars"), "text", "stars"),
    ],
)
@pytest.mark.parametrize("write", [table, json.dumps])
def test_usual_names_are_found_and_said(tmp_path, names, text, rating, write):
    records = renamed(text=names[0], rating=names[1])
    written = write(records)
    content = written if isinstance(written, bytes) else written.encode()
    report, rows = read(tmp_path / "reviews", content)
    assert len(rows) == 200
    [row] = reading.tabulate([report]).to_dict("records")
    assert (row["text"], row["label"]) == (text, rating)
    assert row["ratings"] == "1 to 5"


def test_fields_can_be_named(tmp_path):
    records = renamed(text="blurb", rating="grade", asin="asin")
    for content in (table(records), json.dumps(records).encode()):
        path = tmp_path / "reviews.csv"
        chosen = {"text_field": "blurb", "label_field": "grade"}
        _, rows = read(path, content, **chosen)
        assert [r["text"] for r in rows] == [r["text"] for r in REVIEWS]
        with pytest.raises(UserError, match="no field 'blurp'.*mean 'blurb'"):
            read(path, text_field="blurp")
        with pytest.raises(
            UserError, match="hold the text; the fields are blurb, grade, asi"
        ):
            read(path)
        with pytest.raises(UserError, match="hold the rating; the fields are"):
            read(path, text_field="blurb")


TITLED = [
    {"Title": title, "body text": text, "stars": 5}
    for title, text in [
        ("Great", "I like it"),
        ("Fish &amp; chips", 'He said "no"\nand left'),
        ("[sic]", "{braces}, it's"),
        (" spaces ", "all the time"),
        ("42", "is a number"),
        ("", "no title"),
        ("no text", None),
        (None, "  "),
    ]
]
TEMPLATE = "{Title}: it's {body text}"
PUT_TOGETHER = [
    "Great: it's I like it",
    'Fish & chips: it\'s He said "no"\nand left',
    "[sic]: it's {braces}, it's",
    "spaces : it's all the time",
    "42: it's is a number",
    ": it's no title",
    "no text: it's",
]
OPTIONAL = [{k: v for k, v in r.items() if v is not None} for r in TITLED]
TITLED_FORMS = {
    "CSV": table(TITLED),
    "JSON lines": "\n".join(map(json.dumps, OPTIONAL)).encode(),
    "JSON array": json.dumps(OPTIONAL, indent=1).encode(),
    "Python literals": "\n".join(map(repr, OPTIONAL)).encode(),
    "Parquet": written(pd.DataFrame.to_parquet, TITLED),
    "Excel": written(pd.DataFrame.to_excel, TITLED),
}


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("name", TITLED_FORMS)
def test_a_text_of_several_fields(tmp_path, monkeypatch, name, lenient):
    if lenient:
        monkeypatch.setattr(reading, "_is_for_duckdb", lambda report: False)
    path, target = tmp_path / "reviews", tmp_path / "part"
    path.write_bytes(TITLED_FORMS[name])
    wanted = Wanted(text_field=TEMPLATE)
    report = reading.read_file(path, "a", target, wanted)
    rows = sorted(pq.read_table(target).to_pylist(), key=lambda r: r["record"])
    assert [row["text"] for row in rows] == PUT_TOGETHER
    assert report.dropped == {"no text": 1}
    [shown] = reading.tabulate([report]).to_dict("records")
    assert shown["text"] == TEMPLATE
    with path.open("rb") as file:
        assert list(read_texts(file, TEMPLATE)) == PUT_TOGETHER


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{Titel}. {body text}", "no field 'Titel'.*did you mean 'Title'"),
        ("{Title}. {body_text}", "no field 'body_text'.*mean 'body text'"),
        ("{Title. {body text}", "has a brace that belongs to no field"),
        ("{Title} {}", "has a brace that belongs to no field"),
    ],
)
@pytest.mark.parametrize("name", TITLED_FORMS)
def test_a_template_that_is_wrong_says_so(tmp_path, name, template, message):
    path = tmp_path / "reviews.csv"
    with pytest.raises(UserError, match=message):
        read(path, TITLED_FORMS[name], text_field=template)
    with path.open("rb") as file, pytest.raises(UserError, match=message):
        list(read_texts(file, template))


def test_a_column_with_braces_in_its_name_is_no_template(tmp_path):
    records = renamed(asin="asin", text="{text}", rating="text")
    _, rows = read(
        tmp_path / "reviews.csv",
        table(records),
        text_field="{text}",
        label_field="text",
    )
    assert [row["text"] for row in rows] == [r["text"] for r in REVIEWS]


def test_fields_of_json_may_differ_in_case_alone(tmp_path):
    """DuckDB's names do not."""
    records = [{"Text": "fine", "text": 5}, {"Text": "bad", "text": 1}]
    content = "\n".join(map(json.dumps, records)).encode()
    chosen = {"text_field": "Text", "label_field": "text"}
    _, rows = read(tmp_path / "reviews", content, **chosen)
    assert [(r["text"], r["overall"]) for r in rows] == [
        ("fine", 5),
        ("bad", 1),
    ]


def test_numbers_of_json_are_parts_of_a_text(tmp_path, monkeypatch):
    """Lists and objects are not; both readers take the same."""
    parts = [4, 4.5, True, None, ["a list"], {"an": "object"}, "words"]
    records = [{"a": part, "b": "x", "stars": 5} for part in parts]
    path = tmp_path / "reviews"
    content = "\n".join(map(json.dumps, records)).encode()
    _, strict = read(path, content, text_field="{b}-{a}")
    found = [row["text"] for row in strict]
    assert found == ["x-4", "x-4.5", "x-true", "x-", "x-", "x-", "x-words"]
    monkeypatch.setattr(reading, "_is_for_duckdb", lambda report: False)
    assert read(path, text_field="{b}-{a}")[1] == strict


PACKED = {
    "gz": gzip.compress(LINES),
    "bz2": bz2.compress(LINES),
    "xz": lzma.compress(LINES),
    "zst": zstandard(LINES),
    "zip": zipped(LINES, "a.json", "__MACOSX/._a.json", ".DS_Store"),
}


@pytest.mark.parametrize("name", PACKED)
def test_packed_files_are_read_whatever_their_name(tmp_path, name):
    report, rows = read(tmp_path / "reviews.json", PACKED[name])
    assert [row["text"] for row in rows] == [r["text"] for r in REVIEWS]
    assert not report.dropped


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((name, "cut off") for name in ("gz", "bz2", "xz", "zst")),
        *((name, "flipped") for name in ("gz", "bz2", "xz")),
    ],
)
def test_a_damaged_packed_file_is_no_whole_one(tmp_path, name, damage):
    content = bytearray(PACKED[name])
    if damage == "cut off":
        del content[len(content) * 2 // 3 :]
    else:
        content[len(content) // 2] ^= 0xFF
    (tmp_path / "reviews").write_bytes(content)
    report = reading.read_file(tmp_path / "reviews", "a", tmp_path / "part")
    assert report.dropped["truncated file"] == 1


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz", "zst", "zip"])
@pytest.mark.parametrize("part", [0.1, 0.7])
def test_texts_of_a_packed_file_that_is_cut_off_end_with_a_reason(
    tmp_path, packing, part
):
    path = tmp_path / "texts"
    path.write_bytes(PACKED[packing][: int(part * len(PACKED[packing]))])
    with path.open("rb") as file:
        with pytest.raises(UserError, match=r"texts.* (cut off|truncated)"):
            list(read_texts(file))


def test_a_damaged_parquet_file_is_read_as_far_as_it_goes(tmp_path):
    # DuckDB has errors of several kinds for them.
    pd.DataFrame(REVIEWS[:20]).to_parquet(tmp_path / "whole")
    whole, readers = (tmp_path / "whole").read_bytes(), set()
    path = tmp_path / "reviews"
    for place in range(4, len(whole), 3):
        path.write_bytes(
            whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        )
        with suppress(UserError):  # a field has lost its name
            report = reading.read_file(path, "a", tmp_path / "part")
            readers.add(report.reader)
    assert readers == {"strict", "lenient"}


def test_a_line_of_underscores_is_told_from_a_header_at_once(tmp_path):
    # In a process that can be ended: an expression that may match a run of
    # characters in many ways would try them for years.
    code = "import sys; from nlp_helpers.data import texts\n"
    code += "print(*texts.read_texts(sys.stdin.buffer), sep='\\n')"
    given = b"Name" + b"_" * 60 + b": , signed\nThe second, signed\n"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, input=given, capture_output=True, timeout=60
    )
    assert done.stdout == given, done.stderr


def archive_of(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "<x/>")
    return buffer.getvalue()


# Where an entry in the directory of a zip archive has what.
ENTRY = {"version needed": 6, "flags": 8, "method": 10, "name": 46}


def changed(content, what, value):
    """Change one byte of the directory of a zip archive."""
    content = bytearray(content)
    content[content.index(b"PK\1\2") + ENTRY[what]] = value
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            changed(zipped(LINES, "a.json"), "version needed", 99),
            "is cut off or damaged .*; fetch it again",
        ),
        (
            changed(zipped(LINES, "a.json"), "flags", 1),
            "by Python .*password required.*; unpack it with the program",
        ),
        (
            # What Windows takes for large files.
            changed(zipped(LINES, "a.json"), "method", 9),
            "by Python .*method is not supported.*; unpack it with the prog",
        ),
        (
            changed(zipped(LINES, "a.json"), "name", ord("b")),
            "is cut off or damaged .*; fetch it again",
        ),
        (
            zipped(LINES, "a.json", "b.json"),
            "holds 2 files; unpack it: unzip '",
        ),
        (
            excel(CELLS, [["a note"]]),
            "has 2 sheets: Sheet, Sheet1; keep the one with the texts",
        ),
        (
            archive_of("mimetype", "content.xml"),
            "an OpenDocument file; save it as .xlsx or CSV",
        ),
        (archive_of("x", "xl/workbook.bin"), "a binary Excel file; save it"),
        (excel(CELLS)[:-100], "is cut off or damaged .*; fetch it again"),
        (
            zipped(LINES, "a.json")[:-30],
            "is cut off or damaged .*; fetch it again",
        ),
        (b"\xd0\xcf\x11\xe0\xa1", "or one with a password; save it as .xlsx"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html><title>Sign in</title>", "download it again"),
        (b"x" * 257 + b"ustar\0" + b"x" * 99, "tar -xf"),
        (b"SQLite format 3\0", "an SQLite database"),
        (
            pd.DataFrame(REVIEWS).to_json().encode(),
            "reviewText or text holds {'0': .*the file has asin, text, rating",
        ),
    ],
)
def test_what_cannot_be_read_comes_with_what_to_do(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path / "reviews", content)


def test_cells_of_excel_are_taken_as_a_csv_file_has_them(tmp_path):
    """A number can be a text, and short rows lack their last values."""
    rows = [
        [],
        ["text", "stars", "asin"],
        ["a_x000D_\nb", 5, "B1"],
        [4, "4.0 out of 5 stars", 12],
        [],
        ["c", 2.5],
        [None, 1, "B2"],
        ["d", 1, "B2", "too much"],
    ]
    path = tmp_path / "reviews"
    path.write_bytes(excel(rows))
    target = tmp_path / "part"
    report = reading.read_file(path, "a", target)
    assert report.dropped == {
        "no text": 1,
        "more or fewer values than columns": 1,
    }
    assert [reject["line"] for reject in report.rejects] == [7, 8]
    kept = pq.read_table(target).to_pylist()
    assert [(r["text"], r["overall"], r["product"]) for r in kept] == [
        ("a\r\nb", 5, "B1"),
        ("4", 4, "12"),
        ("c", 2.5, None),
    ]


def test_a_damaged_excel_file_is_no_whole_one(tmp_path):
    path = tmp_path / "reviews"
    path.write_bytes(excel(CELLS))
    with zipfile.ZipFile(path) as archive:
        inside = archive.getinfo("xl/worksheets/sheet1.xml")
    content = bytearray(path.read_bytes())
    content[inside.header_offset + inside.compress_size // 2] ^= 0xFF
    path.write_bytes(content)
    report = reading.read_file(path, "a", tmp_path / "part")
    assert report.dropped["truncated file"] == 1


def test_the_types_of_a_parquet_file_are_those_of_json(tmp_path):
    """A list is no text, a whole float no fraction, NaN no rating."""
    frame = pd.DataFrame(
        {
            "text": [["no", "text"], ["none"], None],
            "body": ["a", "b", "c"],
            "stars": [5.0, 1.0, float("nan")],
        }
    )
    path = tmp_path / "reviews"
    frame.to_parquet(path)
    report = reading.read_file(path, "a", tmp_path / "part")
    assert report.dropped == {"no text": 3}
    wanted = Wanted(text_field="body")
    report = reading.read_file(path, "a", tmp_path / "part", wanted)
    assert (report.kept, report.dropped) == (2, {"no rating": 1})


LATIN = pa.array([b"caf\xe9", b"b"], pa.binary())
STORED = {
    "bytes": (pa.array([b"caf\xc3\xa9", b"b"]), ["caf\xe9", "b"]),
    "bytes in Latin 1": (LATIN, ["caf\ufffd", "b"]),
    "Latin 1": (
        pa.Array.from_buffers(pa.string(), 2, LATIN.buffers()),
        ["caf\ufffd", "b"],
    ),
    "categories": (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
    "large": (pa.array(["a", None], pa.large_string()), ["a"]),
    "objects": (pa.array([{"a": "x" * 40}, {"a": "y"}]), []),
    "numbers": (pa.array([10**17, 2]), []),
}


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("name", STORED)
def test_both_readers_take_the_same_for_a_text(
    tmp_path, monkeypatch, name, lenient
):
    """And a rating of 32 bits for what it says."""
    text, expected = STORED[name]
    stars = pa.array([4.1, 1.0], pa.float32())
    path, target = tmp_path / "reviews", tmp_path / "part"
    pq.write_table(pa.table({"text": text, "stars": stars}), path)
    if lenient:
        monkeypatch.setattr(reading, "_is_for_duckdb", lambda report: False)
    reading.read_file(path, "a", target)
    rows = sorted(pq.read_table(target).to_pylist(), key=lambda r: r["record"])
    assert [row["text"] for row in rows] == expected
    assert [row["overall"] for row in rows] == [4.1, 1.0][: len(expected)]


@pytest.mark.parametrize("place", [10, -6])
def test_a_parquet_file_damaged_at_an_end_is_no_whole_one(tmp_path, place):
    content = bytearray(parquet())
    content[place] ^= 0xFF
    path = tmp_path / "reviews"
    path.write_bytes(content)
    report = reading.read_file(path, "a", tmp_path / "part")
    assert report.dropped == {"truncated file": 1}


def test_metadata_beside_the_reviews_can_be_left_out(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "Software.json").write_bytes(LINES)
    meta = [{"asin": "B1", "title": "x", "also_buy": [], "price": "$1"}] * 9
    (tmp_path / "mine" / "meta_Software.json").write_bytes(
        "\n".join(map(json.dumps, meta)).encode()
    )

    def run(categories):
        found = sources.fetch_reviews(str(tmp_path / "mine"), categories)
        return reading.read_reviews(found, tmp_path / "parts")

    with pytest.raises(UserError, match="meta_S.*asin, title, .* categories"):
        run([])
    [report] = run(["Software"])
    assert report.kept == 200


def test_one_file_is_a_source(tmp_path):
    path = tmp_path / "Software.csv"
    path.write_bytes(FORMS["CSV"])
    assert sources.fetch_reviews(str(path), []) == {"Software": [path]}


SOUND = {"text": "sound", "rating": 5}


@pytest.mark.parametrize(
    "damaged", ['{"text": "no end", "rating": 5', "{oops"]
)
@pytest.mark.parametrize("joint", [", ", ",\n", "\n"])
@pytest.mark.parametrize("brackets", ["[]", ["", ""]])
def test_a_sound_record_is_kept_wherever_it_stands(
    tmp_path, damaged, joint, brackets
):
    """Beside damage, beside another on its line, or over several lines."""
    sound = json.dumps(SOUND)
    pieces = [sound, damaged, sound, sound + " " + sound, sound]
    content = joint.join(pieces)
    if joint == "\n":
        content += joint + json.dumps(SOUND, indent=1) + joint + sound
    path = tmp_path / "reviews"
    path.write_text(brackets[0] + content + brackets[1])
    target = tmp_path / "part.parquet"
    report = reading.read_file(path, "a", target)
    assert report.dropped == {"damaged JSON": 1}
    assert report.kept == content.count("sound")


def test_ragged_rows_of_a_table_are_counted(tmp_path):
    content = table(REVIEWS) + b"B1,too short\nB2,too,long,5,6\n"
    report, rows = read(tmp_path / "reviews", content)
    assert report.dropped == {"more or fewer values than columns": 2}
    assert len(rows) == 200
    assert [reject["line"] for reject in report.rejects] == [402, 403]
