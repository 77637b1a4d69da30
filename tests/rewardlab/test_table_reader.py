"""Reading of tables and texts: encodings, delimiters, kinds of cells, bad rows, and fuzzed files."""

import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewardlab.table_cells import Column, Kind
from rewardlab.table_reader import BadRow, Row, Table, TableError
from rewardlab.text_files import FolderNames, TextError, is_utf8_name, printable, read_text

COLUMNS = (
    Column("path", required=True), Column("caption"), Column("identity", Kind.NAME), Column("pair", Kind.COUNT),
    Column("seconds", Kind.NUMBER), Column("at", Kind.TIME), Column("simulated", Kind.FLAG),
)  # fmt: skip
BERLIN = ZoneInfo("Europe/Berlin")


def read(path, content: str | bytes, **options) -> list[Row | BadRow]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(Table(COLUMNS, zone=BERLIN).read(path, **options))


def cells(path, content: str | bytes, column: str) -> list:
    """Return a column's values; of a bad row its reason."""
    return [row.values[column] if isinstance(row, Row) else row.reason for row in read(path, content)]


@pytest.mark.parametrize(
    "content",
    [
        "path,caption\np.png,“Ä”, smiling", "\ufeffpath,caption\r\np.png,\"“Ä”, smiling\"\r\n",
        'path;caption\np.png;“Ä”, smiling\n', "Path \tCAPTION\np.png\t“Ä”, smiling",
        "sep=;\npath;caption\np.png;“Ä”, smiling",
        'caption,path,more\n"“Ä”, smiling",p.png,x,,\n\n', "path;caption\np.png;“Ä”, smiling".encode("utf-16"),
        '\ufeff"path";"caption"\n"p.png";"“Ä”, smiling"\n',
    ],
)  # fmt: skip
def test_csv_of_any_delimiter_and_encoding_is_read(content, tmp_path):
    found = read(tmp_path / "t.csv", content)
    if content == "path,caption\np.png,“Ä”, smiling":
        assert [(row.reason, row.where) for row in found] == [("extra_cells", "t.csv, row 2")]
        assert "extra: “ smiling”" in found[0].detail
    else:
        assert [(row.values["path"], row.values["caption"]) for row in found] == [("p.png", "“Ä”, smiling")]


@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("as_list", [True, False])
def test_json_list_and_lines_are_read(as_list, encoding, name, tmp_path):
    rows = [
        {"path": f"{number}.png", "Caption": "Ä\u2028😀", "identity": number, "more": [1]} for number in range(3000)
    ]
    content = json.dumps(rows, indent=1) if as_list else "\r\n".join(map(json.dumps, rows))
    found = read(tmp_path / name, f"\n {content}\n".encode(encoding))
    assert [row.values["identity"] for row in found] == [str(number) for number in range(3000)]
    assert found[2999].values["caption"] == "Ä\u2028😀"
    assert found[1].where == f"{name}, {'entry 2' if as_list else 'line 3'}"


def test_cells_are_read_by_their_kind_or_named(tmp_path):
    lines = [
        *(f'{{"path": "p", "caption": {value}}}' for value in (
            '["a"]', "NaN", "7", "true", "{}", '"a\\u0000"', '"a\\ud83d"', "null", '" a "', '{"b": [Infinity]}',
        )),
        '{"path": 17}', "[]", "5", "no json", '{"path": "p", "PATH ": "q"}', '{"path": "p"',
        '{"path": "p", "pair": 1%s}' % ("0" * 5000), '{"path": "p", "more": %s}' % ("[" * 100_000),
        '{"path": "p", "identity": 2880}', '{"path": "p", "identity": 1.5}', '{"path": "p", "identity": true}',
    ]  # fmt: skip
    assert cells(tmp_path / "t.jsonl", "\n".join(lines), "path") == [
        *["bad_text"] * 7, "p", "p", "bad_text", "bad_text", *["bad_row"] * 5, "bad_count", "bad_row",
        "p", "bad_name", "bad_name",
    ]  # fmt: skip
    found = read(tmp_path / "t.jsonl", "\n".join(lines))
    assert found[1].where == "t.jsonl, line 2"
    assert found[1].detail == "the column caption is NaN, not text: write text in quotation marks, or null"
    assert "\\ud83d, half of a character" in found[6].detail
    assert "the key “path” occurs twice" in found[14].detail


@pytest.mark.parametrize(
    ("column", "text", "wanted"),
    [
        ("seconds", "3,5", 3.5), ("seconds", " 3.5 ", 3.5), ("seconds", "1,234", None), ("seconds", "1e2", 100),
        ("seconds", "nan", None), ("seconds", "1_0", None), ("seconds", "٣", None), ("seconds", "1e999", None),
        ("seconds", "", ""), ("pair", "4.0", 4), ("pair", "4,0", 4), ("pair", "4.5", None), ("pair", "-1", None),
        ("pair", "9007199254740993.0", 2**53 + 1), ("pair", "9" * 30, None), ("pair", "9" * 5000, None),
        ("simulated", "TRUE", True), ("simulated", "0", False), ("simulated", "maybe", None),
        ("at", "28.11.2026 10:00", "2026-11-28T09:00:00+00:00"), ("at", "1.2.2026", "2026-01-31T23:00:00+00:00"),
        ("at", "2026-11-28 10:00", "2026-11-28T09:00:00+00:00"),
        ("at", "28.11.2026, 10:00:05", "2026-11-28T09:00:05+00:00"),
        ("at", "2026-11-28T10:00:00+09:00", "2026-11-28T01:00:00+00:00"),
        ("at", "2026-11-28T10:00Z", "2026-11-28T10:00:00+00:00"),
        ("at", "11/28/2026 10:00", None), ("at", "30.02.2026", None), ("at", "20261128", None), ("at", "10:00", None),
        ("at", "0001-01-01T00:00+14:00", None), ("at", "yesterday", None), ("at", "28.11.26", None),
    ],
)  # fmt: skip
def test_numbers_and_times_are_read_or_named(column, text, wanted, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f'path,{column}\np,"{text}"\n')
    (row,) = Table(COLUMNS, zone=BERLIN).read(path)
    if wanted is None:
        assert isinstance(row, BadRow) and f"the column {column} is " in row.detail
    elif column == "at":
        assert row.values["at"] == datetime.fromisoformat(wanted) and row.values["at"].tzinfo is UTC
    else:
        assert row.values[column] == (wanted if wanted != "" else None)


def test_times_without_zone_are_counted(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("path;at\np;28.11.2026 10:00\np;2026-11-28T10:00\np;2026-11-28T10:00Z\np;\n")
    table = Table(COLUMNS, zone=BERLIN)
    assert len(list(table.read(path))) == 4
    assert table.naive_times == 2


def test_decimal_comma_is_unambiguous_between_semicolons(tmp_path):
    assert cells(tmp_path / "t.csv", "path;seconds\np;1,234\n", "seconds") == [1.234]


def test_one_bad_row_does_not_end_the_reading(tmp_path):
    content = 'path,caption\n"a"x,1\nb\nc,2\n"d,3\ne,4\n'
    found = read(tmp_path / "t.csv", content)
    assert [(row.where, getattr(row, "reason", "")) for row in found] == [
        ("t.csv, row 2", "bad_row"), ("t.csv, row 3", "missing_cells"), ("t.csv, row 4", ""),
        ("t.csv, row 5", "bad_row"),
    ]  # fmt: skip
    assert found[3].detail.startswith("lines 5 to 6 cannot be read")
    assert "missing: caption" in found[1].detail
    damaged = '[{"path": "a"}, 5, {"path": "b"}, {"path" "c"}, {"path": "d"}]'
    found = read(tmp_path / "t.json", damaged)
    assert [getattr(row, "reason", "") for row in found] == ["", "bad_row", "", "bad_row"]
    assert "cannot be read from here on" in found[3].detail
    assert "text follows" in read(tmp_path / "t.json", '[{"path": "a"}] more')[1].detail


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "path,caption\np,\xfc".encode("latin-1"), "line 2 has the byte 0xFC. It may be in Windows-1252"),
        ("t.csv", "path,caption\np,x".encode("utf-16-le"), "UTF-16 without a byte-order mark"),
        ("t.csv", "path,caption".encode("utf-32"), "It is UTF-32"),
        ("t.csv", "path,captions".encode("utf-16")[:-1], "cut off or damaged"),
        ("t.csv", b"PK\x03\x04rest", "a spreadsheet (.xlsx"),
        ("t.csv", b"\xff\xd8\xff\xe0\x02JFIF" + bytes(range(1, 255)), "It is not a text file"),
        ("t.csv", b"", "lacks the column path. Columns found: none"),
        ("t.csv", b"file,caption\n", "lacks the column path. Columns found: “file”, “caption”"),
        ("t.csv", b"path,text\n", "lacks the column path and caption, or path and identity"),
        ("t.csv", b"path,Path,caption\n", "has the column path twice"),
        ("t.csv", b'"path,caption\n', "the header cannot be read"),
        ("t.json", b"", "is empty"),
        ("t.json", b"{\n", "is not a JSON list"),
        ("t.json", b"[" * 100_000, "is not a JSON list (it is nested too deeply)"),
        ("t.json", b"[12", "is not a JSON list (it is cut off)"),
        ("t.xlsx", b"", "its name must end in .csv, .tsv, .json, .jsonl, .ndjson"),
    ],
)
def test_unusable_file_is_refused_with_what_was_found(name, content, message, tmp_path):
    with pytest.raises(TableError) as refusal:
        read(tmp_path / name, content, any_of=(("path", "caption"), ("path", "identity")))
    assert message in str(refusal.value) and name in str(refusal.value)


def test_missing_file_and_folder_are_refused_by_name(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    for name in ("none.csv", "folder.csv"):
        with pytest.raises(TableError, match=rf"{name} cannot be read"):
            list(Table(COLUMNS).read(tmp_path / name))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_is_read_without_byte_order_mark(encoding, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("Ä smile.\n".encode(encoding))
    assert read_text(path) == "Ä smile.\n"


def test_text_with_nul_or_latin_1_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    for content, message in ((b"a much longer line\nb\0", "NUL character in line 2"), (b"l\xe4chelt", "byte 0xE4")):
        path.write_bytes(content)
        with pytest.raises(TextError, match=message):
            read_text(path)


def test_names_meet_in_any_unicode_form(tmp_path):
    (tmp_path / "Zoe\u0308").mkdir()
    stored = tmp_path / "Zoe\u0308" / "a\u0308.png"
    stored.touch()
    names = FolderNames()
    assert names.find(tmp_path / "Zo\u00eb" / "\u00e4.png") == stored
    assert names.find(tmp_path / "Zo\u00eb" / "\u00f6.png") == tmp_path / "Zo\u00eb" / "\u00f6.png"
    (tmp_path / "Zoe\u0308" / "\u00e4.png").touch()
    assert FolderNames().find(stored) == stored
    assert is_utf8_name(stored) and not is_utf8_name("l\udce4chelt.png")
    assert printable("l\udce4chelt.png") == "l\\xe4chelt.png"


HEADER = b"path,caption,identity,pair,seconds,at,simulated\n"
PIECES = st.sampled_from(
    [b'"', b",", b";", b"\t", b"\r", b"\n", b"\0", b"\xff", b"[", b"]", b"{", b"}", b":", b"NaN", b"-1e999",
     b"9" * 5000,
     b'{"path": "p", "at": "28.11.2026"}', b'{"path": 1}', b"\\ud83d", b"p,c,1,2,3,2026-01-01,true\n", b"a" * 200_000,
     "\ufeff".encode(), "é😀\u2028".encode(), b"null", b"sep=|\n", b"28.11.2026 10:00"]
)  # fmt: skip
CONTENT = st.one_of(
    st.binary(max_size=60),
    st.lists(PIECES, max_size=8).map(b"".join),
    st.lists(PIECES, max_size=8).map(lambda pieces: HEADER + b"".join(pieces)),
    st.lists(PIECES, max_size=5).map(lambda pieces: b"[" + b",".join(pieces) + b"]"),
    st.lists(PIECES, max_size=5).map(lambda pieces: b"".join(pieces).decode(errors="ignore").encode("utf-16")),
)


@settings(
    max_examples=400, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=CONTENT, name=st.sampled_from(["t.csv", "t.tsv", "t.json", "t.jsonl"]))
def test_fuzzed_file_gives_rows_or_the_readers_own_error(content, name, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    try:
        found = list(Table(COLUMNS, zone=BERLIN).read(path))
    except TableError as error:
        assert name in str(error)
        return
    for row in found:
        assert name in row.where
        text = str(row.values) if isinstance(row, Row) else row.detail
        text.encode()
        assert "\0" not in text and all(row.values) if isinstance(row, Row) else text
