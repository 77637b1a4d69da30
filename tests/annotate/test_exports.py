"""Exports: target libraries can load them; they state the source of each label and contain no names."""

import csv
import hashlib
import io
import json
import os
import signal
import tarfile
import uuid
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from django.core.files.storage import storages
from django.core.management import CommandError, call_command
from PIL import Image
from pyarrow import parquet as parquet_files

from annotate.campaigns import items, lifecycle
from annotate.common import image_store
from annotate.common.pseudonyms import pseudonym
from annotate.desk import judging, leasing
from annotate.exchange import parquet as exchange_parquet
from annotate.exchange import webdataset
from annotate.exchange.export import FORMATS, NAMES, WITH_IMAGES_INSIDE, export
from annotate.exchange.preference_rows import preference_rows
from annotate.labels.consensus import consensus
from annotate.labels.votes import counted, votes
from annotate.models import AutoLabel, Candidate, Dataset, Face, Item, Pair, Predictor, Preference, Score, User
from annotate.pipeline import pairing
from annotate.pipeline.ingest import IngestConfig, ingest
from annotate.pipeline.sources import Source
from rewardlab import manifest
from tests.support.factories import make_campaign, make_face, make_user
from tests.support.tables import squeezed

pytestmark = pytest.mark.django_db
PHOTOGRAPHS = ("Jane_Doe_wedding", "Richard-Roe-passport", "holiday of J Public")
PEOPLE = ("jane.doe@example.org", "richard-roe", "judge_judy")
RESTORERS = ("dat-light", "lanczos", "realesrgan-x4plus")


def answer(person, campaign, choose, criterion: str = "") -> None:
    while leases := leasing.lease_items(annotator=person, campaign=campaign):
        judging.submit_judgement(
            annotator=person, lease_token=leases[0].token, key=uuid.uuid4(), choice=choose(leases[0]),
            criterion=criterion,
        )  # fmt: skip


@pytest.fixture
def filled(tmp_path):
    """Ingest three photographs of 64 px (two train, one gold), restore them, and label their pairs.

    Three people judge the train and gold faces first and third, and disagree on some pairs; an SVM labels the second
    face. Returns the SVM's version.
    """
    random = np.random.default_rng(0)
    dataset = Dataset.objects.create(name="weddings")
    for name, split in zip(PHOTOGRAPHS, ("train", "train", "gold"), strict=True):
        file = tmp_path / "photographs" / f"{name}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file)
        source = Source(path=file, caption="", identity=name, relative=file.name)
        steps = list(ingest([source], dataset=dataset, config=IngestConfig(64, aligned=True)))
        assert steps[0].done, steps
        Face.objects.filter(pk=Face.objects.latest("pk").pk).update(split=split, caption=f"A face, “{split}”.")
    template = make_face()  # makes the restorers
    for face in Face.objects.exclude(pk=template.pk):
        for source in RESTORERS:
            sha256 = image_store.store_png(random.integers(0, 256, (64, 64, 3), dtype=np.uint8))
            restorer = template.candidates.get(source=source).restorer
            candidate = Candidate.objects.create(face=face, source=source, restorer=restorer, sha256=sha256)
            Score.objects.create(candidate=candidate, metric="ssim", value=random.random())
    template.delete()
    first, second, gold = Face.objects.order_by("pk")
    for _ in pairing.build_pairs(Face.objects.all()):
        pass
    people = [make_user(name) for name in PEOPLE]
    campaign = make_campaign(faces=0, overlap=3, members=people)
    asked = Pair.objects.filter(kind="contested", face__in=[first, gold]).values_list("pk", flat=True)
    items.add_items(campaign=campaign, pairs=asked)
    answer(people[0], campaign, lambda lease: "left" if lease.left_is_first else "right", "realism")
    answer(people[1], campaign, lambda lease: "left" if lease.left_is_first else "right", "text")
    answer(people[2], campaign, lambda lease: "cant_tell" if lease.item.pair_id % 2 else "right")
    version = Predictor.objects.create(status="ready", sha256="ab" * 32, labels=3, max_error=0.1, least_margin=0.2)
    for pair, p_first in zip(Pair.objects.filter(face=second, kind="contested"), (0.9, 0.6, 0.2), strict=True):
        AutoLabel.objects.create(predictor=version, pair=pair, p_first=p_first)  # 0.6 is below the margin
    return version


def run(command: str, *args: str) -> str:
    out = io.StringIO()
    call_command(command, *args, stdout=out)
    return out.getvalue()


def decoded(path: str) -> np.ndarray:
    return image_store.load(Candidate.objects.get(sha256=path.split("/")[-1].removesuffix(".png")))


@pytest.mark.usefixtures("either_store")
def test_datasets_export_with_images_loads_in_datasets(filled, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    out = run("export", str(tmp_path / "out"), "--format", "datasets", "--with-images")
    assert "17 preferences of 3 faces (gold/ground_truth 3, gold/human 3, train/ground_truth 6" in out
    found = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    rows = list(preference_rows())
    assert {split: len(found[split]) for split in found} == {"train": 11, "gold": 6}
    assert isinstance(found["train"].features["first"], datasets.Image)
    for split in found:
        for got, wanted in zip(found[split], [row for row in rows if row.split == split], strict=True):
            assert got["caption"] == wanted.caption
            assert (got["pair"], got["p_first"], got["origin"]) == (wanted.pair, wanted.p_first, wanted.origin)
            assert (got["votes_first"], got["votes_second"], got["votes_cant_tell"]) == wanted.votes
            assert got["predictor"] == (filled.pk if got["origin"] == "svm" else None)
            assert (got["ssim_first"], got["ssim_second"]) == wanted.scores.get("ssim", (None, None))
            for side in ("first", "second"):
                assert np.array_equal(np.asarray(got[side]), decoded(getattr(wanted, side)))
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| train/ground\\_truth | 6 |" in squeezed(card)
    assert f'"id": {filled.pk}' in card and '"max_error": 0.1' in card and '"method": "majority"' in card


def test_datasets_export_without_images_has_paths_and_shards(filled, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    monkeypatch.setattr(exchange_parquet, "ROWS_PER_GROUP", 2)
    monkeypatch.setattr(exchange_parquet.write_shards, "__kwdefaults__", {"bytes_per_shard": 5})
    export(tmp_path / "out", "datasets")
    names = sorted(path.name for path in (tmp_path / "out" / "data").iterdir())
    assert names[-1] == "train-00005-of-00006.parquet"
    found = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"), split="train")
    assert found["first"][:] == [row.first for row in preference_rows(splits=["train"])]


@pytest.mark.usefixtures("either_store")
def test_webdataset_export_holds_each_pair_as_a_sample(filled, tmp_path, monkeypatch):
    monkeypatch.setattr(webdataset.write_shards, "__kwdefaults__", {"bytes_per_shard": 50_000})
    run("export", str(tmp_path / "out"), "--format", "webdataset")
    folder = tmp_path / "out" / "webdataset"
    meta = json.loads((tmp_path / "out" / "webdataset.meta.json").read_text())
    assert meta["sha256"] == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert meta["with_images"] and len(meta["sha256"]) > 4
    for split in ("train", "gold"):
        samples: dict[str, dict[str, bytes]] = {}
        for path in sorted(folder.glob(f"{split}-*.tar")):
            with tarfile.open(path, "r|") as stream:  # in one pass, as loaders read it
                for member in stream:
                    key, _, suffix = member.name.partition(".")
                    assert key == next(reversed(samples), key) or key not in samples  # a sample's members are adjacent
                    samples.setdefault(key, {})[suffix] = stream.extractfile(member).read()
        wanted = list(preference_rows(splits=[split]))
        assert [int(key) for key in samples] == [row.pair for row in wanted]
        for sample, row in zip(samples.values(), wanted, strict=True):
            columns = json.loads(sample["json"])
            assert (columns["caption"], columns["p_first"], columns["first"]) == (row.caption, row.p_first, row.first)
            for side in ("first", "second"):
                pixels = np.asarray(Image.open(io.BytesIO(sample[f"{side}.png"])))
                assert np.array_equal(pixels, decoded(getattr(row, side)))


def test_parquet_export_has_row_groups_and_metadata(filled, tmp_path, monkeypatch):
    from pyarrow import parquet

    monkeypatch.setattr(exchange_parquet, "ROWS_PER_GROUP", 5)
    done = export(tmp_path, "parquet", consensus="dawid-skene")
    file = parquet.ParquetFile(done.path)
    assert file.num_row_groups == 4
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    known = json.loads(file.metadata.metadata[b"diffusionreward"])
    assert known["counts"] == done.counts
    assert known["consensus"]["method"] == "dawid-skene"
    annotators = known["consensus"]["splits"]["train"]["annotators"]
    assert set(annotators) == {pseudonym(vote.annotator) for vote in votes()}
    rows = {row.pair: row for row in preference_rows(consensus="dawid-skene")}
    table = file.read().to_pylist()
    assert [row["p_first"] for row in table] == [row.p_first for row in rows.values()]


def test_json_and_csv_exports_match_the_preferences(filled, tmp_path):
    rows = {row.pair: row for row in preference_rows()}
    for form in ("hpdv2", "imagereward", "label-studio", "dpo", "csv"):
        out = run("export", str(tmp_path), "--format", form)
    hpdv2 = json.loads((tmp_path / "hpdv2.json").read_text())
    assert len(hpdv2) == 17
    for record in hpdv2:
        row = rows[record["pair"]]
        assert record["image_path"] == [row.first, row.second]
        rank, preferred = {True: ([1, 2], [1, 0]), False: ([2, 1], [0, 1])}[row.p_first > 0.5]
        assert (record["rank"], record["human_preference"]) == (rank, preferred)
        cast = [vote["rank"] for vote in record["raw_annotations"]]
        assert tuple(cast.count(order) for order in ([1, 2], [2, 1], [1, 1])) == row.votes
    imagereward = json.loads((tmp_path / "imagereward.json").read_text())
    assert imagereward[0].keys() >= {"id", "prompt", "generations", "ranking"}
    assert [record["ranking"] for record in imagereward] == [record["rank"] for record in hpdv2]
    tasks = json.loads((tmp_path / "label-studio.json").read_text())
    assert [task["data"]["pair"] for task in tasks] == list(rows)
    assert all(set(task["data"]) == {"pair", "caption", "left", "right"} for task in tasks)
    dpo = [json.loads(line) for line in (tmp_path / "dpo.jsonl").read_text().splitlines()]
    for record in dpo:
        row = rows[record["pair"]]
        best = (row.first, row.second) if row.p_first > 0.5 else (row.second, row.first)
        assert (record["chosen"], record["rejected"]) == best
    with (tmp_path / "preferences.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["p_first"]) for row in table] == [row.p_first for row in rows.values()]
    assert {row["predictor"] for row in table if row["origin"] == "svm"} == {str(filled.pk)}
    meta = json.loads((tmp_path / "preferences.meta.json").read_text())
    assert meta["predictor"]["sha256"] == "ab" * 32 and meta["rows"] == 17
    assert meta["sha256"] == hashlib.sha256((tmp_path / "preferences.csv").read_bytes()).hexdigest()
    assert f"sha256 {meta['sha256']}" in out


def test_deciding_rules_are_in_manifest_and_every_export(filled, tmp_path):
    rules = {"realism": 1, "text": 1}
    run("snapshot", str(tmp_path / "snapshot"))
    rows = manifest.read(tmp_path / "snapshot" / "manifest.jsonl")[1]
    judged = [row for row in rows if row.origin == "human"]
    assert judged and all(row.rules == rules for row in judged)
    assert not any(row.rules for row in rows if row.origin != "human")
    assert rows == list(preference_rows())
    for form in ("hpdv2", "imagereward", "label-studio", "dpo", "csv", "parquet"):
        run("export", str(tmp_path), "--format", form)
    numbers = {row.pair for row in judged}
    for name in ("hpdv2.json", "imagereward.json"):
        records = json.loads((tmp_path / name).read_text())
        assert {record["pair"] for record in records if record.get("rules") == rules} == numbers
    tasks = json.loads((tmp_path / "label-studio.json").read_text())
    assert {task["data"]["pair"] for task in tasks if task["meta"].get("rules") == rules} == numbers
    with (tmp_path / "preferences.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    counts = ("rule_realism", "rule_detail", "rule_text")
    assert {int(row["pair"]) for row in table if [row[name] for name in counts] == ["1", "0", "1"]} == numbers
    assert set(counts) <= set(parquet_files.read_schema(tmp_path / "preferences.parquet").names)


def test_csv_header_with_formula_is_escaped(filled, tmp_path):
    Score.objects.create(candidate=Candidate.objects.first(), metric="=1+1", value=0.5)
    export(tmp_path, "csv")
    with (tmp_path / "preferences.csv").open(newline="") as file:
        assert "'=1+1_first" in next(csv.reader(file))


@pytest.mark.database
def test_hpdv2_annotator_in_two_campaigns_has_one_vote(filled, tmp_path):
    person = User.objects.get(username=PEOPLE[0])
    asked = Pair.objects.filter(kind="contested", face=Face.objects.earliest("pk")).values_list("pk", flat=True)
    again = make_campaign(faces=0, members=[person])
    items.add_items(campaign=again, pairs=asked)
    answer(person, again, lambda lease: "right" if lease.left_is_first else "left")
    run("export", str(tmp_path), "--format", "hpdv2")
    records = {record["pair"]: record for record in json.loads((tmp_path / "hpdv2.json").read_text())}
    for pair in asked:
        theirs = [v for v in records[pair]["raw_annotations"] if v["user_hash"] == pseudonym(person.pk)]
        assert [vote["rank"] for vote in theirs] == [[2, 1]]  # the newest


def test_dpo_export_leaves_out_and_counts_ties(filled, tmp_path):
    campaign = make_campaign(faces=0, overlap=1, members=[make_user("tie")])
    pair = AutoLabel.objects.get(p_first=0.6).pair
    items.add_items(campaign=campaign, pairs=[pair.pk])
    answer(campaign.memberships.get().annotator, campaign, lambda lease: "cant_tell")
    assert "left out: 1 (p_first is one half" in run("export", str(tmp_path), "--format", "dpo")
    meta = json.loads((tmp_path / "dpo.meta.json").read_text())
    assert (meta["rows"], sum(meta["left_out"].values())) == (17, 1)


@pytest.mark.database
def test_consensus_method_sets_p_first_and_header(filled, tmp_path):
    found = consensus("majority", counted(votes()))
    judged = Preference.objects.filter(origin="human")
    assert found.p_first == dict(judged.values_list("pair_id", "p_first"))
    run("export", str(tmp_path / "a"), "--format", "jsonl")
    header, rows = manifest.read(tmp_path / "a" / "manifest.jsonl")
    assert header["consensus"]["method"] == "majority"
    assert header["predictor"]["least_margin"] == 0.2
    assert [row.predictor for row in rows if row.origin == "svm"] == [filled.pk] * 2
    run("export", str(tmp_path / "b"), "--format", "jsonl", "--consensus", "bradley-terry")
    header, others = manifest.read(tmp_path / "b" / "manifest.jsonl")
    wanted = {}
    for split in ("train", "gold"):  # separately: gold answers do not affect training labels
        wanted |= consensus("bradley-terry", counted(votes(splits=[split]))).p_first
    assert header["consensus"]["method"] == "bradley-terry"
    assert {row.pair: row.p_first for row in others if row.origin == "human"} == wanted
    assert [row.p_first for row in others if row.origin != "human"] == [
        row.p_first for row in rows if row.origin != "human"
    ]


@pytest.mark.database
def test_gold_answers_do_not_change_training_labels(filled):
    before = list(preference_rows(splits=["train"], consensus="dawid-skene"))
    second = make_campaign(faces=0, overlap=1, members=[make_user("contrary")])
    asked = Item.objects.filter(pair__face__split="gold").values_list("pair", flat=True)
    items.add_items(campaign=second, pairs=list(asked))
    answer(second.memberships.get().annotator, second, lambda lease: "right" if lease.left_is_first else "left")
    assert list(preference_rows(splits=["train"], consensus="dawid-skene")) == before


def test_export_in_every_format_contains_no_name(filled, tmp_path):
    for form, images in product(NAMES, (False, True)):
        folder = tmp_path / f"{form}{images}"
        export(folder, form, consensus="dawid-skene", with_images=images)
        for path in filter(Path.is_file, folder.rglob("*")):
            content = path.read_bytes()
            for name in (*PHOTOGRAPHS, *PEOPLE):
                assert name.encode() not in content, (path, name)
            assert not path.name.endswith((".part", ".new", ".body"))
        if images and form not in WITH_IMAGES_INSIDE:
            assert len(list((folder / "images").rglob("*.png"))) == 12


def test_killed_export_leaves_no_partial_file_and_can_restart(filled, tmp_path):
    def kill(rows):
        yield next(rows)
        yield next(rows)
        os.kill(os.getpid(), signal.SIGKILL)

    for form in NAMES:
        out = tmp_path / form
        if (child := os.fork()) == 0:
            try:
                export(out, form, with_images=True, progress=kill)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        finals = ["manifest.jsonl"] if form == "jsonl" else FORMATS[form][1]
        assert not any((out / name).exists() for name in finals)
        run("export", str(out), "--format", form, "--with-images")
        assert all((out / name).exists() for name in finals)
        assert not {".part", ".old", ".body", ".new"} & {path.suffix for path in out.rglob("*")}


def test_existing_export_is_replaced_only_with_overwrite(filled, tmp_path):
    (tmp_path / "file").touch()
    for form in NAMES:
        with pytest.raises(CommandError, match=r"is a file\. OUT must be a folder"):
            run("export", str(tmp_path / "file"), "--format", form)
        out = tmp_path / form
        first = export(out, form, origins=["human"], splits=["train"])
        if form == "jsonl":
            export(out, form, origins=["human"], splits=["train"])  # the same content is not a conflict
        with pytest.raises(CommandError, match=r"(already exists|is another snapshot).*--overwrite"):
            run("export", str(out), "--format", form)
        run("export", str(out), "--format", form, "--overwrite")
        assert export(out, form, overwrite=True).rows > first.rows


@pytest.mark.usefixtures("either_store")
def test_missing_image_and_empty_selection_are_reported(filled, tmp_path):
    with pytest.raises(CommandError, match="No preference has split any and origin \\['simulated'\\]"):
        run("export", str(tmp_path / "none"), "--format", "csv", "--origin", "simulated")
    assert not (tmp_path / "none").exists()
    lost = Candidate.objects.filter(source="lanczos").first()
    storages["images"].delete(lost.relative_path)
    with pytest.raises(CommandError, match=lost.sha256):
        run("export", str(tmp_path / "out"), "--format", "datasets", "--with-images")
    assert not (tmp_path / "out" / "data").exists()


def test_gold_among_training_faces_is_refused_before_writing(filled, tmp_path):
    gold = Face.objects.get(split="gold")
    Face.objects.filter(split="train").update(identity=gold.identity)
    for command in (["snapshot"], ["export", "--format", "datasets"]):
        with pytest.raises(CommandError, match="Nothing may train on gold faces"):
            run(command[0], str(tmp_path / "out"), *command[1:])
    assert not (tmp_path / "out").exists()
    export(tmp_path / "out", "csv", splits=["gold"])  # has no training rows


def test_simulated_labels_are_named_in_output_and_card(filled, tmp_path):
    face = make_face()
    for _ in pairing.build_pairs(Face.objects.filter(pk=face.pk)):
        pass
    campaign = make_campaign(faces=1, members=[])
    lifecycle.invite(campaign=campaign, annotators=[robot := make_user("robot", simulated=True)])
    answer(robot, campaign, lambda lease: "left")
    out = run("export", str(tmp_path), "--format", "datasets")
    assert "3 answers of simulated annotators are left out. To count them as labels, run manage.py" in out
    run("count_simulated", "yes")
    out = run("export", str(tmp_path), "--format", "datasets", "--overwrite")
    assert "3 of these are SIMULATED" in out
    assert "3 labels are SIMULATED" in (tmp_path / "README.md").read_text()
