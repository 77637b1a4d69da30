"""Sources of a restorer's prompts."""

from collections import namedtuple

import pytest

from refl.policies.prompts import open_prompts
from rewardlab.snapshot_images import DataError

Face = namedtuple("Face", "face caption")
FACES = [Face(7, "An old man."), Face(2, "A child, smiling."), Face(7, "An old man.")]


def test_prompts_are_empty_captions_or_from_a_file(tmp_path):
    assert open_prompts("empty", None)(FACES) == ["", "", ""]
    assert open_prompts("caption", None)(FACES) == ["An old man.", "A child, smiling.", "An old man."]
    table, lines = tmp_path / "tags.csv", tmp_path / "tags.jsonl"
    table.write_text('\ufeffface,tags,note\n2,"child, smile",x\n7,,y\n')
    lines.write_text('{"face": 2, "tags": "child, smile"}\n\n{"face": 7, "tags": ""}\n')
    for file in (table, lines):
        assert open_prompts("file", file)(FACES) == ["", "child, smile", ""]
        with pytest.raises(DataError, match=rf"{file.name} has no tags for face 3, 4, 5, 6, 8 and 1 more"):
            open_prompts("file", file)([Face(number, "") for number in range(2, 10)])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tags.csv", "face,words\n1,a\n", "lacks the column tags.*columns face"),
        ("tags.csv", "face,tags\none,a\n", "row 2: the column face is .*“one”"),
        ("tags.csv", "face,tags\n1,a\n1,b\n", r"row 3: face 1 already has tags in tags\.csv, row 2"),
        ("tags.csv", "face,tags\n1\n", "row 2: .*missing: tags"),
        ("tags.jsonl", '{"face": 1, "tags": ["a"]}', "line 1: the column tags is a list"),
        ("tags.jsonl", '{"face": 1, "tag": "a"}', "line 1: the column tags is empty or missing"),
        ("tags.jsonl", "[1]", "entry 1: it is the number 1"),
        ("tags.jsonl", "{", "line 1: it is not valid JSON"),
    ],
)
def test_invalid_prompt_files_are_refused(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=rf"(?s){name}.*{message}"):
        open_prompts("file", tmp_path / name)
    with pytest.raises(DataError, match=r"gone\.csv cannot be read"):
        open_prompts("file", tmp_path / "gone.csv")
    for kind, file in (("file", None), ("empty", tmp_path / name), ("caption", tmp_path / name)):
        with pytest.raises(DataError, match="the prompt 'file' needs a file of prompts"):
            open_prompts(kind, file)
