"""Images and predictors in a folder and in a bucket: the same content, errors and permissions."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command

from annotate import command_line
from annotate.backup import backup
from annotate.common import image_store, stores
from annotate.management.run_options import images_folder
from annotate.models import Candidate, Pair, Predictor
from annotate.predictor import versions
from annotate.settings.media import media_storages
from rewardlab import snapshot_images
from rewardlab.files import sha256
from tests.support.factories import make_campaign, make_user
from tests.support.s3 import BUCKET
from tests.support.servers import free_port

pytestmark = pytest.mark.django_db


@pytest.fixture
def pictures() -> list[Candidate]:
    """Candidates of two faces of a campaign of `ann`, with their images in the store."""
    make_campaign(slug="faces", faces=2, members=[make_user("ann")])
    for candidate in Candidate.objects.all():
        candidate.sha256 = image_store.store_png(np.full((8, 8, 3), candidate.pk, dtype=np.uint8))
        candidate.save()
    return list(Candidate.objects.order_by("pk"))


def damage(candidate: Candidate, data: bytes = b"damaged") -> None:
    stores.write("images", candidate.relative_path, data)


@pytest.mark.usefixtures("either_store")
def test_stored_image_is_read_back_and_named_by_its_content(rng_image):
    name = image_store.store_png(rng_image)
    assert name == sha256(image_store.read(name)) == image_store.store_png(rng_image)
    assert np.array_equal(image_store.load(Candidate(source="hq", sha256=name)), rng_image)
    assert image_store.exists(name)
    assert not image_store.exists("0" * 64)


def test_missing_and_damaged_images_are_named(either_store, pictures):
    damage(pictures[0])
    with pytest.raises(image_store.BrokenImage, match=rf"hq of face \d+: .*{pictures[0].sha256}.png was changed"):
        image_store.load(pictures[0])
    with pytest.raises(image_store.BrokenImage, match=f"{'0' * 64}.png is missing") as error:
        image_store.read("0" * 64)
    assert str(error.value).startswith(f"s3://{BUCKET}/{either_store}/" if either_store else "/")


@pytest.mark.usefixtures("either_store")
def test_image_page_serves_only_whole_images_to_its_annotators(client, pictures):
    client.force_login(make_user("stranger"))
    assert {client.get(f"/images/{each.key}").status_code for each in pictures} == {404}
    client.force_login(make_user("lead", is_staff=True))
    answers = [client.get(f"/images/{each.key}") for each in pictures]
    assert {answer.status_code for answer in answers} == {200}
    assert len({len(answer.content) for answer in answers}) == 1
    damage(pictures[0], image_store.read(pictures[1].sha256))
    broken = client.get(f"/images/{pictures[0].key}")
    assert (broken.status_code, broken.json()["code"]) == (404, "not_found")


@pytest.mark.usefixtures("either_store")
def test_backup_with_images_restores_them_into_the_store(pictures, tmp_path):
    folder = tmp_path / "images"
    assert all(backup._save_image(each.sha256, folder) for each in pictures)
    wanted = (folder / pictures[0].relative_path).read_bytes()
    damage(pictures[0])
    assert not backup._save_image(pictures[0].sha256, tmp_path / "other")
    image_store.repair(pictures[0].sha256, wanted)
    assert image_store.read(pictures[0].sha256) == wanted


@pytest.mark.usefixtures("either_store")
def test_training_reads_images_from_a_local_folder(pictures, tmp_path):
    call_command("snapshot", str(tmp_path / "out"), stdout=io.StringIO())
    run = SimpleNamespace(manifest=tmp_path / "none", faces=tmp_path / "out" / "faces.jsonl", exists=lambda: False)
    given = tmp_path / "out" / "manifest.jsonl"
    folder = images_folder({"images": None, "manifest": given}, run)
    wanted = {each.relative_path: image_store.read(each.sha256) for each in pictures}
    assert {path: (folder / path).read_bytes() for path in wanted} == wanted


@pytest.mark.usefixtures("either_store")
def test_snapshot_with_images_copies_each_once(pictures, tmp_path):
    call_command("snapshot", str(tmp_path), "--with-images", stdout=io.StringIO())
    named = {path for pair in Pair.objects.all() for path in (pair.first.relative_path, pair.second.relative_path)}
    named |= {each.relative_path for each in pictures if each.source == Candidate.LQ}
    copied = {path.relative_to(tmp_path / "images").as_posix() for path in (tmp_path / "images").rglob("*.png")}
    assert copied == named


@pytest.mark.usefixtures("either_store")
def test_snapshot_as_shards_has_the_same_images(pictures, tmp_path):
    with pytest.raises(CommandError, match="needs --with-images"):
        call_command("snapshot", str(tmp_path), "--images-as", "shards", stdout=io.StringIO())
    for form in ("files", "shards", "shards"):
        words = ["--with-images", "--images-as", form]
        call_command("snapshot", str(tmp_path / form), *words, stdout=io.StringIO())
    named = [path.relative_to(tmp_path / "files" / "images") for path in (tmp_path / "files").rglob("*.png")]
    assert named and not list((tmp_path / "shards").rglob("*.png"))
    for path in map(str, named):
        one, other = (snapshot_images.read_image(tmp_path / form / "images", path) for form in ("files", "shards"))
        assert np.array_equal(one, other)
    # The preferences' images, then those that only the faces have; the repeated command adds nothing.
    assert sorted(path.name for path in (tmp_path / "shards" / "images").glob("*.tar")) == [
        "images-00000.tar", "images-00001.tar"
    ]  # fmt: skip


def test_predictor_file_is_kept_in_the_store(either_store, s3_server):
    stores.write("predictors", "svm-1.skops", b"not a model")
    version = Predictor.objects.create(file="svm-1.skops", sha256=sha256(b"a model"))
    with pytest.raises(versions.DamagedPredictor, match=r"svm-1\.skops was changed or damaged"):
        versions.load(version)
    version.file = "svm-2.skops"
    with pytest.raises(versions.DamagedPredictor, match=r"svm-2\.skops is missing"):
        versions.load(version)
    if either_store:
        assert s3_server.keys(either_store) == [f"{either_store}/predictors/svm-1.skops"]


def test_unreachable_bucket_is_503_at_once_and_recovers(client, pictures, bucket, monkeypatch, settings):
    client.raise_request_exception = False
    client.force_login(make_user("lead", is_staff=True))
    working = settings.STORAGES
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    settings.STORAGES = dict(working)  # opens the bucket anew
    for _ in range(2):  # the second is refused without a new attempt
        answer = client.get(f"/images/{pictures[0].key}")
        assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (503, "unavailable", "5")
        assert "The images are unavailable. Try again" in answer.json()["detail"]
    assert stores.store("images").refused_until > 0
    assert client.get("/campaigns/faces/").status_code == 200
    assert f"The bucket s3://{BUCKET}/{bucket} cannot be reached" in stores.store("images").fault()


def test_missing_bucket_ends_a_command_with_a_message(pictures, bucket, settings, monkeypatch, tmp_path):
    settings.STORAGES = settings.STORAGES | media_storages("s3://no-such-bucket/faces")
    monkeypatch.setattr(sys, "argv", ["manage.py", "degrade", "--export", str(tmp_path)])
    with pytest.raises(SystemExit, match="The bucket s3://no-such-bucket/faces answers NoSuchBucket"):
        command_line.main()


@pytest.mark.parametrize("url", ["banana", "s3://", "s3://UPPER/x", "s3://faces/../x", "https://faces/x", "s3://a b"])
def test_media_store_that_is_not_a_bucket_is_refused(url):
    with pytest.raises(ImproperlyConfigured, match="s3://BUCKET/PREFIX"):
        media_storages(url)
