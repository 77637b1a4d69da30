"""Photographs with tables and caption texts: names, encodings, bad rows, through `ingest` and `caption`."""

import csv
import io
import json
import os

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image

from annotate.models import Face
from annotate.pipeline.sources import read_sources

pytestmark = pytest.mark.django_db


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()

    def add(*names: str):
        for name in names:
            content = np.random.default_rng(len(list(folder.iterdir()))).integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(content).save(folder / name, "png")
        return folder

    return add


def run(command: str, *args) -> str:
    out = io.StringIO()
    try:
        call_command(command, *map(str, args), stdout=out)
    except CommandError as error:
        return f"{out.getvalue()}{error}"
    return out.getvalue()


def ingest(folder, *args) -> str:
    return run("ingest", folder, "--aligned", "--size", "64", *args)


def captions() -> list[str]:
    return list(Face.objects.order_by("pk").values_list("caption", flat=True))


@pytest.mark.database
def test_bad_rows_are_skipped_by_name_and_the_rest_is_ingested(photographs, tmp_path):
    folder = photographs("a.png", "b.png", "c.png", "d.png", "e.png")
    table = tmp_path / "captions.jsonl"
    table.write_text(
        '{"path": "./a.png", "caption": " Smiles. ", "identity": 7}\n'
        '{"path": "b.png", "caption": NaN}\n'
        '{"path": "c.png", "caption": "x\\u0000"}\n{"path": "d.png"}\n{"path": "d.png", "caption": "again"}\n'
        '{"path": 17}\n{"path": "E.PNG", "caption": "upper"}\nno json\n',
        encoding="utf-8-sig",
    )
    said = ingest(folder, "--captions", table)
    assert "ingest: done 2, skipped 6" in said and "6 skipped, see above" in said
    for detail in (
        "b.png: captions.jsonl, line 2: the column caption is NaN, not text",
        "c.png: captions.jsonl, line 3: the column caption contains a NUL character",
        "d.png: captions.jsonl, line 4 and line 5: they describe the same file d.png: remove one",
        "captions.jsonl, line 6: the column path is the number 17, not text",
        "captions.jsonl, line 7: E.PNG is not among the photographs",
        "a photograph is called e.png",
        "captions.jsonl, line 8: it is not valid JSON",
    ):
        assert detail in said
    assert captions() == ["Smiles.", ""]


def test_caption_texts_are_decoded_or_named(photographs):
    folder = photographs("a.png", "b.png", "c.png", "d.png", "Zoe\u0308.png")
    (folder / "a.txt").write_text("Lächelt.", encoding="utf-16")
    (folder / "b.txt").write_text("Lächelt.\n", encoding="utf-8-sig")
    (folder / "c.txt").write_text("Lächelt.", encoding="latin-1")
    (folder / "d.txt").write_text("   \n")
    (folder / "Zo\u00eb.txt").write_text("Zoë.")
    said = ingest(folder)
    assert "done 4, skipped 1" in said and "c.txt is not text in UTF-8: line 1 has the byte 0xE4" in said
    assert sorted(captions()) == ["", "Lächelt.", "Lächelt.", "Zoë."]


def test_names_of_a_table_meet_files_in_any_unicode_form(photographs):
    folder = photographs("Zoe\u0308.png", "plain.png")
    table = folder / "table.csv"
    table.write_text(
        "Path;Caption;Identity\nZo\u00eb.png;One.;Zoe\u0308\nplain.png;Two.;Zo\u00eb\n", encoding="utf-8-sig"
    )
    for source in (
        read_sources(table, identity_from="column"),
        read_sources(folder, captions=table, identity_from="column"),
    ):
        assert {one.caption: one.identity for one in source.sources} == {"One.": "Zo\u00eb", "Two.": "Zo\u00eb"}
        assert all(one.path.exists() for one in source.sources)


def test_row_for_two_unicode_forms_of_a_name_is_refused(photographs, tmp_path):
    folder = photographs("Zoe\u0308.png", "Zo\u00eb.png")
    table = tmp_path / "table.csv"
    table.write_text("path,caption\nZo\u00eb.png,One.\n")
    found = read_sources(folder, captions=table)
    assert [step.reason for step in found.unusable] == ["several_files", "several_files"]


def test_file_name_that_is_not_utf8_is_reported(photographs):
    folder = photographs("a.png")
    os.link(os.fsencode(folder / "a.png"), os.fsencode(folder) + b"/l\xe4chelt.png")
    said = ingest(folder)
    assert "done 1, skipped 1" in said and "l\\xe4chelt.png: its name is not valid UTF-8; rename it" in said


def test_missing_identities_skip_only_their_photographs(photographs, tmp_path):
    folder = photographs("a.png", "b.png")
    table = tmp_path / "table.csv"
    table.write_text("path,identity\na.png,7\nb.png,\n")
    said = ingest(folder, "--captions", table, "--identity-from", "column")
    assert "done 1, skipped 1" in said and "b.png: The table has no identity for b.png" in said


def test_table_without_usable_columns_is_refused(photographs, tmp_path):
    folder = photographs("a.png")
    table = tmp_path / "table.csv"
    for content, message in (
        ("path,captoin\na.png,x\n", "lacks the column path and caption"),
        ("", "lacks the column path"),
    ):
        table.write_text(content)
        assert message in ingest(folder, "--captions", table)
    assert not Face.objects.exists()


def test_caption_from_a_table_names_its_bad_rows(photographs, tmp_path):
    ingest(photographs("a.png", "b.png"))
    table = tmp_path / "more.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "caption"), ("a.png", "One."), ("b.png", "Two.", "extra")])
    said = run("caption", "--backend", "file", "--from", table)
    assert "more.csv, row 3: it has 3 cells, but the header has 2 (extra: “extra”)" in said
    assert captions() == ["One.", ""]
    listed = tmp_path / "more.json"
    listed.write_text(json.dumps([{"path": "b.png", "caption": "Three."}]))
    assert "done 1, already there 1, skipped 0" in run("caption", "--backend", "file", "--from", listed)
    assert [source.relative for source in read_sources(listed).sources] == ["b.png"]
