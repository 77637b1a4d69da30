"""The card of a reward model agrees with its run folder."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
from huggingface_hub import ModelCard

from rewardlab import assets, cards, clip, manifest
from rewardlab.evaluation import report
from rewardlab.reward_model import model, model_card, prepare, train
from rewardlab.reward_model.configs import PRESETS, TrainConfig
from rewardlab.training import runs
from rewardlab.training.run_schema import FrmPoint, GoldPoint
from tests.support.preferences import TINY, write_preferences
from tests.support.tables import squeezed

HOSTILE = "a*b_[x](y)\n---\n# <script> | `c`"


def tiny(folder, **changes) -> TrainConfig:
    torch.manual_seed(0)
    torch.save({"state_dict": clip.build(TINY).state_dict()}, folder / "hps.pt")
    (folder / "tiny.json").write_text(json.dumps(TINY))
    return TrainConfig(
        architecture=str(folder / "tiny.json"), iterations=4, learning_rate=1e-3, image_layers=3, text_layers=2,
        faces_per_step=2, log_every=1, evaluate_every=4, save_every=2, workers=0, **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with a hostile name, trained for four steps."""
    folder = tmp_path_factory.mktemp("card")
    write_preferences(folder, train=6)
    run = runs.Run(folder / "runs" / HOSTILE)
    prepare.prepare_run(
        run, tiny(folder), folder / "manifest.jsonl", images=folder / "images", checkpoint_file=folder / "hps.pt"
    )
    train.train(run, images=folder / "images", device="cpu")
    return run


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the trained run, whose card may change."""
    with assets.weights_root(trained.folder.parent.parent):  # where its checkpoint is
        yield runs.Run(shutil.copytree(trained.folder, tmp_path / HOSTILE))


def card_of(run) -> str:
    return (run.model / "README.md").read_text()


def test_card_states_data_settings_and_curve_of_the_run(run):
    card, described = squeezed(card_of(run)), run.description()
    header = manifest.read_header(run.manifest)
    assert f"- sha256: {header['sha256']}" in card
    assert f"- sha256 of the checkpoint: {described.start['checkpoint_sha256']}" in card
    counts = [header["counts"].get(f"{split}/human", 0) for split in ("gold", "train")]
    assert f"| people | {counts[0]} | {counts[1]} | {described.training_pairs['human']} |" in card
    assert "| SIMULATED annotators (programs) | 0 | 0 | 0 |" in card
    assert "| learning\\_rate | 0.001 | learning rate of Adam (A.2) |" in card
    assert "| architecture | tiny.json |" in card
    first, *_, last = run.points_of(FrmPoint)
    for point in (first, last):
        shares = (f"{point.accuracy[origin]:.1%}" for origin in ("ground_truth", "human"))
        assert f"| {point.step} | {point.loss:.4f} | {' | '.join(shares)} |" in card
    gold = run.points_of(GoldPoint)[-1].gold
    for stratum in ("contested", "anchored"):
        assert f"| {stratum} | {gold[stratum].agreement:.1%} | {gold[stratum].pairs} |" in card
    assert model_card.NO_INTERVAL in card
    assert f"- torch: {described.code['torch']}" in card
    assert str(run.folder.parent) not in card


def test_card_of_a_hostile_run_name_keeps_its_structure(run):
    card = card_of(run)
    assert card.count("\n---\n") == 1
    assert [line for line in card.splitlines() if line.startswith("# ")] == [
        r"# a\*b\_\[x\](y) --- \# &lt;script> \| \`c\`"
    ]
    read = ModelCard(card).data.to_dict()
    assert read["library_name"] == "open_clip"
    assert "reward-model" in read["tags"]
    assert "base_model" not in read  # hps.pt may be anyone's


def test_header_value_with_yaml_or_control_characters_reads_back():
    header = {
        "name": "a: b # 'c' \"d\"\n---\x00\x85 {x} é",
        "tags": ["- x", "!!python/object", "no"],
        "configs": {"a": 1},
    }
    read = ModelCard(cards.document(header, "t", [])).data.to_dict()
    assert read["name"] == "a: b # 'c' \"d\" --- {x} é"
    assert (read["tags"], read["configs"]) == (header["tags"], header["configs"])


def test_evaluation_adds_intervals_and_keeps_edits_in_card(run, trained):
    path = run.model / "README.md"
    path.write_text(card_of(run).replace('license: "other"', 'license: "mit"') + "\nEdited manually.\n")
    results = report.evaluate_run(run, images=trained.images_place())
    card = squeezed(card_of(run))
    for row in results["rows"]:
        if row["name"] in ("frm", "start"):
            assert row["low"] is None  # fewer than six faces
            interval = "–"
            assert (
                f"| {row['title']} | {row['stratum']} | {row['agreement']:.1%} | {interval} | {row['pairs']} |" in card
            )
    assert model_card.NO_INTERVAL not in card
    assert "With so few faces, shares and intervals are unreliable." in card
    assert 'license: "mit"' in card
    assert card.endswith("Edited manually.\n")
    again = card_of(run)
    report.evaluate_run(run, images=trained.images_place())
    assert card_of(run) == again
    path.unlink()  # a model of an earlier version has no card
    report.evaluate_run(run, images=trained.images_place())
    assert squeezed(card_of(run)).count(interval) >= 1


def test_card_states_simulated_labels_and_unknown_facts(run, tmp_path):
    _, rows = manifest.read(run.manifest)
    simulated = [replace(row, origin="simulated") if row.origin == "human" else row for row in rows]
    manifest.write(tmp_path / "manifest.jsonl", simulated, filters={})
    other = runs.Run(tmp_path / "other")
    other.folder.mkdir()
    config = TrainConfig(**run.description().config)
    header = manifest.read_header(tmp_path / "manifest.jsonl")
    other.create(kind="frm", config=config, start={}, header=header, images=tmp_path)
    card = model_card.write(other)
    assert "**Some labels are by SIMULATED annotators" in card
    assert "the training pairs were not recorded" in card
    assert "The loss was not recorded." in card
    assert "Unknown: the snapshot has no judged gold pair." in card
    assert "trained on |" not in card


@pytest.mark.parametrize(
    ("start", "hub", "file"),
    [
        ({"backbone": "hpsv2", "checkpoint": "/x/HPS_v2.1_compressed.pt"}, "xswu/HPSv2", r"HPS\_v2.1\_compressed.pt"),
        ({"backbone": "compact"}, "sentence-transformers/all-MiniLM-L6-v2", "efficientnet-lite0-57934424.pth"),
    ],
)
def test_card_names_the_base_and_its_licence(tmp_path, start, hub, file):
    run = runs.Run(tmp_path / "run")
    run.folder.mkdir()
    run.create(kind="frm", config=PRESETS[start["backbone"]], start=start, images=tmp_path)
    card = model_card.write(run)
    assert ModelCard(card).data.to_dict()["base_model"] == [hub]
    assert re.search(rf"- weights: {re.escape(file)}, from .*; licence: Apache-2.0", card)


def test_copied_model_loads_and_includes_card(run, tmp_path):
    copied = shutil.copytree(run.model, tmp_path / "copy")
    assert model.load(copied).preprocess.size == 32
    assert (copied / "README.md").read_text() == card_of(run)
