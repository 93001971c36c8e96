import gzip
import json
import math
import random
from hashlib import sha1
from uuid import UUID

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlp_helpers.core.errors import UserError
from nlp_helpers.data import reading
from nlp_helpers.data.formats import Form
from nlp_helpers.data.labels import ID2LABEL, label_of
from nlp_helpers.data.records import (
    LONG_AND_DAMAGED,
    TRUNCATED,
    parse,
    show_first,
)
from nlp_helpers.data.records import records as records_of

EXAMPLES = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.data_too_large,
        HealthCheck.too_slow,
    ],
)


def review(text="fine", overall=4.0, **fields):
    return {"asin": "A", "reviewText": text, "overall": overall, **fields}


def lines(records):
    return b"".join(
        (r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n"
        for r in records
    )


def read(tmp_path, content, name="reviews.json"):
    """Read one file; return its report and its rows in the file's order."""
    path = tmp_path / name
    path.write_bytes(content)
    report = reading.read_file(path, "phones", tmp_path / "part.parquet")
    report.check(1.0)
    rows = pq.read_table(tmp_path / "part.parquet").to_pylist()
    assert report.kept == len(rows)
    return report, sorted(rows, key=lambda row: row["record"])


# The published forms


RECORDS = [review("I like it.", 5.0), review("It's bad", 1.0), review("ok", 3)]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("file_format", "content"),
    [
        ("JSON lines", lines(RECORDS)),
        ("JSON lines", lines(RECORDS).replace(b"\n", b"\r\n\r\n")),
        ("JSON array", json.dumps(RECORDS).encode()),
        ("JSON array", json.dumps(RECORDS, indent=1).encode()),
        ("Python literals", "\n".join(map(repr, RECORDS)).encode()),
    ],
)
def test_every_published_form_gives_the_same_rows(
    tmp_path, file_format, content, zipped
):
    # The name must not matter: some .json files of the web are gzipped.
    report, rows = read(
        tmp_path, gzip.compress(content) if zipped else content
    )
    assert str(report.form) == file_format
    lenient = file_format == "Python literals"
    assert report.reader == ("lenient" if lenient else "strict")
    assert (report.rows, report.kept, report.dropped) == (3, 3, {})
    assert [(r["text"], r["overall"], r["label"]) for r in rows] == [
        ("I like it.", 5.0, "positive"),
        ("It's bad", 1.0, "negative"),
        ("ok", 3.0, "neutral"),
    ]
    assert {(r["category"], r["product"]) for r in rows} == {("phones", "A")}


def test_the_2023_release_has_other_names(tmp_path):
    record = {"rating": 2.0, "text": "Broke", "user_id": 7}
    record |= {"asin": "B in blue", "parent_asin": "B"}
    for content in (lines([record]), repr(record).encode()):
        _, [row] = read(tmp_path, content)
        got = (row["text"], row["overall"], row["label"])
        assert got == ("Broke", 2.0, "negative")
        assert (row["product"], row["reviewer"]) == ("B", "7")


def test_both_releases_in_one_file(tmp_path):
    mixed = [review("old")] * 9 + [{"rating": 2.0, "text": "new"}]
    report, rows = read(tmp_path, lines(mixed))
    assert report.kept == 10 and rows[-1]["text"] == "new"


def test_a_field_that_comes_late_in_the_file_is_read(tmp_path):
    early = [review("long " * 60) for _ in range(600)]  # 200 KB
    late = [review(reviewID=f"r{n}", reviewerID="") for n in range(10)]
    _, rows = read(tmp_path, lines(early + late))
    names = [row["review"] for row in rows]
    assert names == [None] * 600 + [f"r{n}" for n in range(10)]


@pytest.mark.parametrize("blank", ["", "  "])
@pytest.mark.parametrize("file_format", [json.dumps, repr])
def test_a_blank_name_is_none(tmp_path, blank, file_format):
    record = review(reviewerID=blank, reviewID="7")
    _, [row] = read(tmp_path, file_format(record).encode())
    assert (row["reviewer"], row["review"]) == (None, "7")


@pytest.mark.parametrize("blank", ["", " \t", None])
@pytest.mark.parametrize("write", [json.dumps, repr])
def test_what_an_empty_field_lacks_another_name_may_say(
    tmp_path, blank, write
):
    record = {"reviewText": blank, "text": "a real text", "overall": blank}
    record |= {"rating": 5.0, "parent_asin": blank, "asin": "B7"}
    record |= {"reviewerID": blank, "user_id": "ann"}
    report, [row] = read(tmp_path, write(record).encode())
    assert report.kept == 1 and row["text"] == "a real text"
    assert row["overall"] == 5.0
    assert (row["product"], row["reviewer"]) == ("B7", "ann")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("mark", ["\ufeff", ""])
def test_utf_16_is_refused(tmp_path, encoding, mark):
    record = review("这台相机的电池很耐用，我很喜欢。")
    content = mark + json.dumps(record, ensure_ascii=False)
    with pytest.raises(UserError, match=r"json is written in UTF-16.*iconv"):
        read(tmp_path, content.encode(encoding))


def test_a_text_full_of_nuls_is_no_utf_16(tmp_path):
    text = "\0".join("wide letters of a text")
    _, [row] = read(tmp_path, lines([review(text)]).replace(b"\\u0000", b"\0"))
    assert row["text"] == "wide letters of a text"


@pytest.mark.parametrize("file_format", ["lines", "array", "literals"])
def test_another_encoding_is_refused_and_a_slip_is_mended(
    tmp_path, file_format
):
    sound, other = review("sound"), review("größer")
    encoded = [
        (
            repr(r)
            if file_format == "literals"
            else json.dumps(r, ensure_ascii=False)
        )
        for r in (sound, other)
    ]
    sound, other = (text.encode("latin-1") for text in encoded)
    joint = {"lines": b"\n", "array": b",\n", "literals": b"\n"}[file_format]
    for number, allowed in ((1, True), (2, False)):
        content = joint.join([sound] * (100 - number) + [other] * number)
        path = tmp_path / "reviews.json"
        path.write_bytes(
            b"[%s]" % content if file_format == "array" else content
        )
        report = reading.read_file(path, "a", tmp_path / "part.parquet")
        assert (report.rows, report.kept) == (100, 100)
        if allowed:
            report.check(0.01)
            rows = pq.read_table(tmp_path / "part.parquet").to_pylist()
            assert [r["text"] for r in rows].count("gr��er") == 1
            continue
        with pytest.raises(
            UserError,
            match="2 of 100 .* not UTF-8, the first on line 99.*`iconv",
        ):
            report.check(0.01)


@pytest.mark.parametrize("joint", ["\n", "", ",\n"])
@pytest.mark.parametrize("file_format", ["array", "lines", "short arrays"])
@pytest.mark.parametrize("damage", ["", '{"reviewText": "cut off", oops}\n'])
def test_what_follows_an_array_is_read_too(
    tmp_path, joint, file_format, damage
):
    first = [review(f"one {n}") for n in range(200)]
    others = [review(f"two {n}") for n in range(1000)]
    joined = {
        "array": json.dumps(others),
        "lines": lines(others).decode(),
        "short arrays": "\n".join(json.dumps([one]) for one in others),
    }[file_format]
    content = json.dumps(first) + joint + damage + joined
    report, rows = read(tmp_path, content.encode())
    assert report.dropped == ({"damaged JSON": 1} if damage else {})
    assert [r["text"] for r in rows] == [
        r["reviewText"] for r in first + others
    ]


def test_labels_follow_the_article(tmp_path):
    stars = [1.0, 2.0, 2.9, 3.0, 3.9, 4.0, 5.0]
    _, rows = read(tmp_path, lines(review("text", s) for s in stars))
    names = [row["label"] for row in rows]
    assert names == ["negative"] * 3 + ["neutral"] * 2 + ["positive"] * 2
    assert [label_of(s) for s in stars] == [r["label"] for r in rows]
    assert ID2LABEL == {0: "neutral", 1: "positive", 2: "negative"}


# Identifiers


NAMED = {
    "ISBN": ["120401325X", "0-306-40615-2", "978-3-16-148410-0"],
    "hash": [sha1(str(n).encode()).hexdigest() for n in range(300)],
    "UUID": [str(UUID(int=n << 100 | n)) for n in range(300)],
    "Yelp": ["-0DET7VdEQOJVJ_v6klEug", "_-x", "5-stars"],
    "words": ["Ann B.", "a@b.example", "1.2.3", "\u00c4nne", "\u674e", "#5"],
    "digits": ["007", "0", "123456789012345678"],
    "a date": ["2014-03-31", "2014-03-31T10:00:00.5Z", "03 31, 2014"],
}
# Which could be numbers of JSON as DuckDB writes them, or have been none.
DOUBTFUL = ["1.5", "12e5", "1234567890123456789", "-5", "NaN", "[1]", "{1}"]


def write_table(records):
    return pd.DataFrame(records).to_csv(index=False).encode()


@pytest.mark.parametrize("write", [lines, write_table])
@pytest.mark.parametrize("kind", NAMED)
def test_identifiers_of_any_kind_are_no_cause_for_doubt(tmp_path, kind, write):
    records = [
        review(f"text {n}", asin=name, reviewerID=name, reviewID=name)
        for n, name in enumerate(NAMED[kind])
    ]
    report, rows = read(tmp_path, write(records))
    assert (report.reader, report.doubtful) == ("strict", 0)
    for name in ("product", "reviewer", "review"):
        assert [row[name] for row in rows] == NAMED[kind]


def test_an_identifier_that_may_be_a_number_goes_to_the_lenient_reader(
    tmp_path,
):
    records = [review(f"text {name}", asin=name) for name in DOUBTFUL]
    numbers = [b"1.5", b"12e5", b"1" * 19, b"-5", b"NaN", b"[1]", b"[]"]
    named = [
        b'{"reviewText": "a", "overall": 5, "asin": %s}' % n for n in numbers
    ]
    report, rows = read(tmp_path, lines([*records, *named, *RECORDS]))
    assert report.doubtful == len(DOUBTFUL) + len(numbers)
    products = [row["product"] for row in rows]
    assert products[: len(DOUBTFUL)] == DOUBTFUL
    as_numbers = [None, None, None, "-5", None, None, None]
    assert products[len(DOUBTFUL) : -3] == as_numbers


# Damage


BAD = {
    "damaged JSON": [
        b'{"reviewText": "cut off',
        b"[1, 2]",
        b"hello",
        b"null",
        b"{'reviewText': open('secret'), 'overall': 1}",
    ],
    "no text": [
        review("  "),
        review("&nbsp; \u00a0"),
        review(None),
        review(["a"]),
        review({"a": 1}),
        review(5),
        review(True),
        {"overall": 4.0},
        b'{"reviewText": "\\u0000", "overall": 4.0}',
    ],
    "no rating": [
        review(overall=None),
        review(overall=True),
        review(overall=[4]),
        review(overall="four"),
        review(overall="4_0"),
        {"reviewText": "a"},
    ],
    "rating off the scale": [
        review(overall=5.5),
        review(overall=-1),
        review(overall=0),
        b'{"reviewText": "a", "overall": NaN}',
        b'{"reviewText": "a", "overall": -Infinity}',
        b'{"reviewText": "a", "overall": 1e999}',
        b'{"reviewText": "a", "overall": 1' + b"0" * 400 + b"}",
    ],
}


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_every_bad_record_is_counted_under_its_reason(tmp_path, name):
    bad = [(why, record) for why, group in BAD.items() for record in group]
    good = [review(f"text number {n}") for n in range(len(bad))]
    mixed = [r for pair in zip(good, bad, strict=True) for r in pair]
    content = lines(r[1] if isinstance(r, tuple) else r for r in mixed)
    if name.endswith("gz"):
        content = gzip.compress(content)
    report, rows = read(tmp_path, content, name)
    assert report.dropped == {why: len(group) for why, group in BAD.items()}
    assert [row["text"] for row in rows] == [r["reviewText"] for r in good]
    assert [r["line"] for r in report.rejects] == [
        *range(2, 2 * len(bad) + 1, 2)
    ]
    assert [r["reason"] for r in report.rejects] == [why for why, _ in bad]


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (review("AT&amp;T &#34;works&#34;"), 'AT&T "works"'),
        (b'{"reviewText": "a\\u0000b", "overall": 4}', "ab"),
        (b'{"reviewText": "a\x00b", "overall": 4}', "ab"),
        (b'{"reviewText": "caf\xe9", "overall": 4}', "caf\ufffd"),
        (b'{"reviewText": "tab\there", "overall": 4}', "tab\there"),
        (b'{"reviewText": "half \\ud83d", "overall": 4}', "half ?"),
        (b'{"reviewText": "comma", "overall": 4},', "comma"),
        (b"{'reviewText': u'it\\'s', 'overall': 4.0}", "it's"),
        (b'{"reviewText": "a", "reviewText": "b", "overall": 4}', "a"),
        (review("[sic] brackets"), "[sic] brackets"),
        (review("5"), "5"),
        (review("true"), "true"),
        (review(" \u00a0outer\n"), "outer"),
        (review("stars", "4.0"), "stars"),
        (review("stars", " 4 "), "stars"),
    ],
)
def test_what_is_safe_to_repair_is_repaired(tmp_path, record, text):
    report, rows = read(tmp_path, lines([review("before"), record]))
    assert [row["text"] for row in rows] == ["before", text]
    assert rows[1]["overall"] == 4.0 and not report.dropped


def test_a_byte_order_mark_is_no_damage(tmp_path):
    for content in (lines(RECORDS), json.dumps(RECORDS).encode()):
        report, _ = read(tmp_path, b"\xef\xbb\xbf" + content)
        assert report.kept == 3 and not report.dropped


def test_a_first_line_of_invalid_utf8_is_still_json(tmp_path):
    first = json.dumps(review("caf@")).encode().replace(b"@", b"\xe9")
    report, rows = read(tmp_path, lines([first, *RECORDS]))
    assert (str(report.form), report.reader) == ("JSON lines", "strict")
    assert len(rows) == 4 and rows[0]["text"] == "caf�"


def test_a_file_that_breaks_off_keeps_what_came_before(tmp_path):
    records = [review(f"{random.Random(n).random()} text") for n in range(999)]
    whole = lines(records)
    report, rows = read(tmp_path, whole[:-9])
    assert report.dropped == {"damaged JSON": 1} and len(rows) == 998
    zipped = gzip.compress(whole)
    report, rows = read(tmp_path, zipped[: len(zipped) // 2], "a.json.gz")
    assert report.dropped == {"truncated file": 1} and 300 < len(rows) < 700
    report, rows = read(tmp_path, zipped[:-4], "a.json.gz")
    assert report.dropped == {"truncated file": 1} and len(rows) > 900
    # A second member that is damaged; the first is whole.
    report, rows = read(tmp_path, zipped + zipped[:3000], "a.json.gz")
    assert report.dropped == {"truncated file": 1} and len(rows) >= 999
    flipped = bytearray(zipped)
    flipped[len(zipped) // 2] ^= 0xFF
    report, _ = read(tmp_path, bytes(flipped), "a.json.gz")
    assert report.dropped["truncated file"] == 1
    array = gzip.compress(json.dumps(records).encode())
    report, rows = read(tmp_path, array[:-9], "a.json.gz")
    assert report.dropped == {"truncated file": 1} and len(rows) >= 998


def test_a_damaged_array_goes_on_with_the_next_object(tmp_path):
    parts = [json.dumps(review(f"text {n}")) for n in range(9)]
    parts[4] = '{"reviewText": oops, "overall": 4}'
    for joint in (",", ",\n", "\n, \n"):
        content = f"[{joint.join(parts)}]".encode()
        report, rows = read(tmp_path, content)
        assert report.dropped == {"damaged JSON": 1} and len(rows) == 8
        report, rows = read(tmp_path, content[: len(content) - 20])
        assert report.dropped == {"damaged JSON": 2} and len(rows) == 7


def test_a_damaged_array_of_many_records_loses_only_the_damage(tmp_path):
    parts = [
        json.dumps(review(f"とても良い電話です {n}"), ensure_ascii=False)
        for n in range(8000)
    ]
    parts[4000] = parts[4000].replace("とても", "\udce9")
    content = ",".join(parts).encode("utf-8", "surrogateescape")
    report, rows = read(tmp_path, b"[" + content + b"]")
    assert len(rows) == 8000 and not report.dropped
    mended = [row["record"] for row in rows if "�" in row["text"]]
    assert mended == [4001]


def test_no_name_is_a_pattern(tmp_path):
    sizes = {"reviews1.json": 1, "reviews[1].json": 3, "r*.json": 2}
    sizes |= {"reviews?.json": 4, "[a]/r[1]*?.json": 5}
    (tmp_path / "[a]").mkdir()
    (tmp_path / "a").mkdir()
    for name, size in sizes.items():
        records = [review(f"{name} {n}") for n in range(size)]
        (tmp_path / name).write_bytes(lines(records))
    for name, size in sizes.items():
        target = tmp_path / "part[0].parquet"
        report = reading.read_file(tmp_path / name, "a", target)
        assert (report.kept, report.reader) == (size, "strict")
        [texts] = reading.query_parquet(
            "SELECT list(text) AS t FROM p", p=target
        )["t"]
        assert sorted(texts) == [f"{name} {n}" for n in range(size)]
    folder = tmp_path / "parts[1]"
    reading.read_reviews({"a": [tmp_path / "r*.json"]}, folder)
    assert len(reading.query_parquet("FROM p", p=folder)) == 2


def test_many_cores_need_no_more_memory(monkeypatch):
    monkeypatch.setattr(reading, "processors", lambda: 64)
    with reading.connect() as connection:
        found = connection.sql("SELECT current_setting('threads')")
        assert found.fetchall() == [(reading.MAX_THREADS,)]


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (lines(RECORDS), json.dumps(RECORDS[0])),
        (b'{"reviewText": "caf\xe9"}\n', '{"reviewText": "caf�"}'),
        (b"", "empty file"),
        (gzip.compress(lines(RECORDS), mtime=0)[:20], TRUNCATED),
    ],
    ids=["sound", "no UTF-8", "empty", "cut off"],
)
def test_the_first_record_can_always_be_shown(tmp_path, content, shown):
    (tmp_path / "reviews").write_bytes(content)
    assert show_first(tmp_path / "reviews", Form("JSON lines")) == shown


def test_a_line_of_20_megabytes_is_dropped_and_counted(tmp_path):
    long = lines([review("x" * 20_000_000)])
    report, rows = read(tmp_path, lines(RECORDS) + long + lines(RECORDS))
    assert report.dropped == {"longer than 16 MB": 1} and len(rows) == 6
    assert report.rejects[0]["line"] == 4


def test_an_empty_file_is_counted(tmp_path):
    for content in (b"", b"\n \n", gzip.compress(b"")):
        report, rows = read(tmp_path, content)
        assert report.dropped == {"empty file": 1} and not rows


@pytest.mark.parametrize(
    "content", [b"<html>not found</html>", b"%PDF-1.7", b"\x89PNG\r\n", b"a,b"]
)
def test_a_file_that_is_something_else_is_refused(tmp_path, content):
    with pytest.raises(UserError, match="is not a file of reviews: it begins"):
        read(tmp_path, content)


# Many files


def test_too_much_damage_stops_the_run_and_leaves_the_rejects(tmp_path):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_bytes(lines(RECORDS * 99))
    bad.write_bytes(lines(RECORDS * 9 + [b"{oops"] * 2))
    target = tmp_path / "out" / "parts"
    files = {"a": [good], "b": [bad]}
    with pytest.raises(UserError) as error:
        reading.read_reviews(files, target, max_bad_fraction=0.05)
    for part in ("bad.json", "2 of 29", "6.9%", "2 damaged JSON", "line 28"):
        assert part in str(error.value)
    assert not target.exists()
    rejects = (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()
    assert json.loads(rejects[0]) == {
        "file": "bad.json",
        "line": 28,
        "reason": "damaged JSON",
        "content": "{oops\n",
    }
    bad.write_bytes(lines([*RECORDS, b"{oops"]))
    with pytest.raises(UserError, match="mend the file, or raise max_bad_f"):
        reading.read_reviews(files, target)
    bad.write_bytes(lines(RECORDS * 9 + [b"{oops"] * 2))
    reports = reading.read_reviews(files, target, max_bad_fraction=0.07)
    table = reading.tabulate(reports)
    assert table["kept"].tolist() == [297, 27]
    assert table["damaged JSON"].tolist() == [0, 2]
    assert len(list(target.glob("*.parquet"))) == 2


def test_parts_are_the_same_with_any_number_of_workers(tmp_path):
    for number in range(3):
        records = [review(f"text {number} {n}", n % 5 + 1) for n in range(50)]
        (tmp_path / f"{number}.json").write_bytes(lines(records))
    given = {"a": sorted(tmp_path.glob("*.json"))}
    found = []
    for num_workers in (0, 2):
        target = tmp_path / str(num_workers)
        reading.read_reviews(given, target, num_workers=num_workers)
        found.append(
            [p.read_bytes() for p in sorted(target.glob("*.parquet"))]
        )
    assert found[0] == found[1] and len(found[0]) == 3


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_missing_text_that_python_wrote_as_nan_is_no_text(tmp_path, value):
    # json.dumps writes NaN and Infinity, which DuckDB turns into text.
    missing = [review(value), review("nan"), review("NaN is a number")]
    for content in (lines(missing), json.dumps(missing).encode()):
        report, rows = read(tmp_path, content)
        assert report.dropped == {"no text": 1} and report.reader == "strict"
        assert [row["text"] for row in rows] == ["nan", "NaN is a number"]


# Properties: 5,000 single records, and 200 files of 25 to 50 records of which
# three in four are odd or damaged


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["4.0", " 3", "1e0", "&amp;", "true", "[", "\u00a0"])
    | st.sampled_from([math.nan, math.inf, "NaN", "inf", 10**18]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=4,
)
# What HTML's entities are made of, and what only looks like one.
ENTITIES = st.lists(
    st.sampled_from("& &amp &lt; &notit &# 38 x26 ; z \u00e9".split() + [" "]),
    min_size=1,
    max_size=6,
).map("".join)
SOUND = st.builds(
    review,
    st.text(min_size=1, max_size=40) | ENTITIES,
    st.sampled_from([1, 3.0, 5]),
).map(lambda record: json.dumps(record).encode())
ODD = st.fixed_dictionaries(
    {},
    optional={
        name: JSON_VALUES
        for name in ("reviewText", "overall", "text", "rating", "asin")
    },
).map(lambda record: json.dumps(record).encode())
LITERAL = st.fixed_dictionaries(
    {"reviewText": st.text(max_size=20), "overall": st.floats(0, 5)}
).map(lambda record: repr(record).encode())


@st.composite
def damaged(draw):
    """A record with some bytes removed, replaced or put in."""
    content = bytearray(draw(SOUND | ODD | LITERAL))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = start + draw(st.integers(0, 4))
        content[start:end] = draw(st.binary(max_size=4))
    return bytes(content)


@settings(EXAMPLES, max_examples=5000)
@given(damaged() | st.binary(max_size=60))
def test_parsing_keeps_a_row_or_gives_a_reason(content):
    row, remark = parse(content)
    if row is None:
        assert remark in BAD
    else:
        assert 0 <= row["overall"] <= 5 and row["text"].strip()
        row["text"].encode()


@settings(EXAMPLES, max_examples=200)
@given(
    st.lists(
        SOUND | SOUND | ODD | LITERAL | damaged(), min_size=5, max_size=40
    ),
    st.sampled_from([b"\n", b"\r\n", b"\n \n", b",\n"]),
    st.booleans(),
    st.integers(0, 30),
)
def test_both_readers_agree_and_nothing_is_lost(
    tmp_path_factory, content, end, zipped, cut
):
    tmp_path = tmp_path_factory.getbasetemp()
    whole = (
        b'{"reviewText": "first", "overall": 5.0}' + end + end.join(content)
    )
    if zipped:
        whole = gzip.compress(whole, mtime=0)
    # One file in three breaks off.
    report, rows = read(tmp_path, whole[: len(whole) - cut * (cut % 3 == 0)])
    expected, dropped = [], 0
    for record, _, piece in records_of(report.path, report.form):
        row, _ = parse(piece, report.names)
        dropped += row is None
        if row is not None:
            row |= {"record": record, "category": "phones"}
            expected.append(row)
        if piece == TRUNCATED:
            break
    assert rows == expected
    assert sum(report.dropped.values()) == dropped == len(report.rejects)
    assert report.rows == len(rows) + dropped


# Records that are made to do harm


@pytest.mark.parametrize("file_format", ["lines", "array", "literals"])
def test_numbers_of_thousands_of_digits_cost_a_record_at_most(
    tmp_path, file_format
):
    digits = "1" * 5000  # Python turns no such text into a number
    records = [
        f'{{"reviewText": "a &#{digits}; b", "overall": 5}}',
        f'{{"reviewText": "c", "overall": 5, "n": {digits}}}',
        '{"reviewText": oops, "overall": 4}',  # the lenient reader is asked
        '{"reviewText": "d", "overall": 4}',
    ]
    if file_format == "literals":
        records = [record.replace('"', "'") for record in records]
    content = "\n".join(records)
    if file_format == "array":
        content = "[" + ",\n".join(records) + "]"
    report, rows = read(tmp_path, content.encode())
    assert report.rows == 4
    texts = [row["text"] for row in rows]
    assert texts[0] == "a \ufffd b" and texts[-1] == "d"


def test_a_literal_that_would_fill_the_memory_is_not_evaluated():
    listed = "0, " * (1 << 19)
    content = f"{{'reviewText': 'x', 'overall': 5, 'a': [{listed}]}}"
    assert parse(content.encode()) == (None, LONG_AND_DAMAGED)
    assert parse(content[: 1 << 19].encode() + b"]}")[0]["text"] == "x"


def test_large_texts_do_not_pile_up(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "BATCH_CHARACTERS", 1000)
    records = [review("x" * 400 + f"\0{n}") for n in range(10)]
    with reading._Writer(tmp_path / "part.parquet", "phones") as writer:
        for number, record in enumerate(records, start=1):
            row, _ = parse(json.dumps(record).encode())
            writer.add(row, number)
            assert len(writer.waiting) < 3
    assert pq.read_table(tmp_path / "part.parquet").num_rows == 10


def test_an_array_of_many_damaged_records_is_read_to_its_end(tmp_path):
    content = b"[" + b'{"a":x},\n' * 20_000 + lines(RECORDS[:1]) + b"]"
    report, rows = read(tmp_path, content)
    assert report.dropped == {"damaged JSON": 20_000}
    assert report.rejects[-1]["line"] == len(report.rejects)
    assert [row["record"] for row in rows] == [20_001]
