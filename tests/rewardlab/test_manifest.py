"""Manifests: what is written is read back, and damaged files are refused."""

import pytest

from rewardlab import manifest

ROW = manifest.PreferenceRow(
    pair=1, face=1, identity="9f", split="train", caption="The face of a woman, “smiling”.",
    first="aa/aa.png", first_source="hq",
    second="bb/bb.png", second_source="lanczos", p_first=1.0, origin="ground_truth", weight=1.0,
    votes=(2, 1, 0), scores={"ssim": (1.0, 0.75)},
)  # fmt: skip


def test_written_manifest_reads_back_equal(tmp_path):
    path = tmp_path / "manifest.jsonl"
    written = manifest.write(path, [ROW], filters={"splits": ["train"]})
    header, rows = manifest.read(path)
    assert rows == [ROW]
    assert header == written
    assert header["counts"] == {"train/ground_truth": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"p_first": 1.0', '"p_first": 0.0'),
        lambda text: text[: len(text) - 40],
        lambda text: "",
        lambda text: "\x00\x01 not json\n",
        lambda text: '{"format": "other"}\n',
        lambda text: text.replace('"version": 1', '"version": 99'),
    ],
    ids=["changed", "truncated", "empty", "not JSON", "other format", "newer"],
)
def test_damaged_manifest_is_refused_by_name(tmp_path, damage):
    path = tmp_path / "manifest.jsonl"
    manifest.write(path, [ROW, ROW], filters={})
    path.write_text(damage(path.read_text()))
    with pytest.raises(manifest.ManifestError, match=r"manifest\.jsonl"):
        manifest.read(path)
