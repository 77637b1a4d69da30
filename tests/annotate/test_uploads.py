"""Uploads: files from browsers, hostile archives, limits, who may send what, and what is deleted when."""

import unicodedata
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone

from annotate.common import large_bodies
from annotate.jobs.forms import JobForm
from annotate.jobs.kinds import KINDS
from annotate.models import AuditEntry, Job, Upload, User
from annotate.tasks import check_upload
from annotate.uploads import report, upkeep
from tests.support.factories import make_user
from tests.support.upload_forms import CONTENT_TYPE, encrypted, link, multipart, packed, picture, portraits

pytestmark = pytest.mark.django_db
State = Upload.State


def send(client: Client, *files: tuple[str, bytes], **fields: str):
    return client.post("/uploads/receive", multipart(files, **fields), content_type=CONTENT_TYPE)


def checked(client: Client, *files: tuple[str, bytes]) -> Upload:
    """Send files and check them, as the worker does."""
    answer = send(client, *files)
    assert answer.status_code == 302, answer.content.decode()
    upload = Upload.objects.order_by("-pk")[0]
    check_upload(upload.pk)
    upload.refresh_from_db()
    return upload


def outcomes(upload: Upload) -> dict[str, str]:
    """Return the reason of each file, or its outcome if it has none."""
    return {row.name: row.reason or row.outcome for row in report.read(upload)}


def stored(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_photographs_and_captions_keep_their_folders(lead):
    first, second = (path.read_bytes() for path in portraits(2))
    upload = checked(
        lead, ("people/alice/1.jpg", first), ("people/alice/1.txt", b"a woman"), ("people/bert/1.jpg", second),
        ("people/readme.txt", b"hello"), ("people/.DS_Store", b"x"), ("notes.jpg", b"only text"),
        ("half.jpg", first[: len(first) // 2]), ("nothing.png", b""), ("photo.nef", first), ("x.tar.gz", b"\x1f\x8b12"),
    )  # fmt: skip
    assert (upload.state, upload.photographs, upload.captions, upload.skipped) == (State.CHECKED, 2, 1, 1)
    assert stored(upload.folder) == {"people/alice/1.jpg", "people/alice/1.txt", "people/bert/1.jpg"}
    assert (upload.folder / "people/alice/1.jpg").read_bytes() == first
    refused = {name: reason for name, reason in outcomes(upload).items() if reason != "accepted"}
    assert refused == {
        "people/readme.txt": "text_alone", "people/.DS_Store": "system", "notes.jpg": "unsupported",
        "half.jpg": "truncated", "nothing.png": "empty", "photo.nef": "unsupported", "x.tar.gz": "archive",
    }  # fmt: skip
    page = lead.get(f"/uploads/{upload.pk}/").content.decode()
    assert "The image is cut off. Copy it again." in page
    assert "people/alice/1.jpg" in page
    assert AuditEntry.objects.get(action="upload").target == f"upload {upload.pk}"


def test_quarantine_is_private_and_has_no_names_of_clients(lead):
    send(lead, ("../../alice.jpg", picture()))
    upload = Upload.objects.get()
    assert {path.name for path in upload.quarantine.iterdir()} == {"000000", "000000.json"}
    root = upload.quarantine.parents[1]
    assert {oct(path.stat().st_mode & 0o777) for path in root.rglob("*") if path.is_dir()} == {"0o700"}
    assert {oct(path.stat().st_mode & 0o777) for path in root.rglob("*") if path.is_file()} == {"0o600"}
    form = JobForm(KINDS["ingest"], user=User.objects.get())
    assert not [value for value, _label in form.fields["path"].choices if "upload" in value]


def test_hostile_archive_is_refused_member_by_member(lead, settings):
    decomposed = unicodedata.normalize("NFD", "zoë.png")
    old_name = zipfile.ZipInfo("placeholder.png")
    archive = packed(
        [
            ("good/1.png", picture()), ("../out.png", picture()), ("/etc/out.png", picture()),
            ("C:\\out.png", picture()), ("win\\2.png", picture("blue")), ("Good/1.PNG", picture()),
            ("good/1.png/x.png", picture()),
            link("link.png", "/etc/passwd"), ("nested.zip", packed([("1.png", picture())])),
            ("bomb.png", b"\0" * 9_000_000),
            ("__MACOSX/good/._1.png", b"x"), ("good/Thumbs.db", b"x"), (decomposed, picture("green")),
            (".hidden.png", picture()), ("a" * 300 + ".png", picture()), ("two\nlines.png", picture()),
            (old_name, picture("yellow")),
        ]
    )  # fmt: skip
    archive = archive.replace(b"placeholder.png", "grüße-19x.png".encode())  # UTF-8 without the flag that says so
    settings.UPLOAD_MEGAPIXELS = 1
    upload = checked(lead, ("all.zip", archive), ("huge.png", picture(size=(1001, 1000))))
    assert stored(upload.folder) == {"good/1.png", "win/2.png", "zoë.png", "grüße-19x.png"}
    found = outcomes(upload)
    assert {reason for name, reason in found.items() if "out" in name} == {"parent", "absolute"}
    reasons = {
        "Good/1.PNG": "duplicate", "good/1.png/x.png": "duplicate", "link.png": "link", "nested.zip": "archive",
        "bomb.png": "ratio", "__MACOSX/good/._1.png": "system", "good/Thumbs.db": "system", ".hidden.png": "hidden",
        "two\nlines.png": "bad_name", "huge.png": "bomb",
    }  # fmt: skip
    assert {name: found[name] for name in reasons} == reasons
    assert len(found) == 18
    assert lead.get(f"/uploads/{upload.pk}/").status_code == 200


def test_encrypted_damaged_and_cut_off_archives_are_refused(lead):
    members = [("1.png", picture()), ("2.png", picture("blue"))]
    whole = packed(members)
    damaged = bytearray(whole)
    damaged[60:80] = bytes(20)
    upload = checked(
        lead, ("locked.zip", encrypted(packed([("3.png", picture())]))), ("cut.zip", whole[:-30]), ("whole.zip", whole),
        ("damaged.zip", bytes(damaged).replace(b"1.png", b"7.png").replace(b"2.png", b"8.png")),
        ("pk.jpg", b"PK\x03\x04" + bytes(99)),
    )  # fmt: skip
    assert stored(upload.folder) == {"1.png", "2.png", "8.png"}
    refused = {name: reason for name, reason in outcomes(upload).items() if reason != "accepted"}
    assert refused == {
        "3.png": "encrypted", "cut.zip": "zip_broken", "7.png": "zip_damaged", "pk.jpg": "zip_broken"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [("UPLOAD_UNPACKED_MB", 1, "unpacked"), ("UPLOAD_FILES", 2, "too_many"), ("LEAST_FREE_MB", 10**9, "disk")],
)
def test_archive_over_a_limit_is_refused_as_a_whole(lead, settings, setting, value, reason):
    names = ["1.bmp", "2.bmp", "3.bmp"]
    send(lead, ("photos.zip", packed([(name, picture(size=(500, 300), kind="BMP")) for name in names])))
    setattr(settings, setting, value)
    upload = Upload.objects.get()
    check_upload(upload.pk)
    upload.refresh_from_db()
    assert (upload.state, upload.error) == (State.REFUSED, reason)
    assert not upload.quarantine.exists()
    assert not upload.folder.exists()
    assert report.in_words(reason) in lead.get(f"/uploads/{upload.pk}/").content.decode().replace("&#x27;", "'")


def test_form_over_a_limit_leaves_nothing_behind(lead, settings):
    settings.UPLOAD_FILES = 2
    three = [(f"{number}.png", picture()) for number in range(3)]
    assert "may have 2 files" in send(lead, *three).content.decode()
    settings.UPLOAD_MB = 1
    too_much = [("1.png", bytes(600_000)), ("2.png", bytes(600_000))]
    path = f"/uploads/receive?ticket={large_bodies.ticket(1)}"
    large = lead.post(path, multipart(too_much), content_type=CONTENT_TYPE)
    assert (large.status_code, "may have 1 MB" in large.content.decode()) == (409, True)
    assert send(lead, *too_much).status_code == 413  # without a ticket
    assert send(lead).status_code == 409
    assert send(lead, three[0]).status_code == 302
    settings.LEAST_FREE_MB = 10**9
    assert lead.post("/uploads/begin", {"files": 1, "bytes": 5}).json()["detail"].startswith("The server has no space")
    settings.UPLOAD_MB = 0
    assert "switched uploads off" in send(lead, three[0]).content.decode()
    assert [upload.files for upload in Upload.objects.all()] == [1]
    assert len(list(Upload.objects.get().quarantine.parent.iterdir())) == 1


def test_broken_or_forged_form_leaves_nothing_behind(lead, settings):
    body = multipart([("1.png", picture())])
    assert lead.post("/uploads/receive", body[:200], content_type="multipart/form-data").status_code == 400
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(User.objects.get())
    assert careful.post("/uploads/receive", body, content_type=CONTENT_TYPE).status_code == 403
    assert not Upload.objects.exists()
    assert not list((Path(settings.UPLOAD_ROOT) / "quarantine").iterdir())


def test_only_leads_upload_and_only_the_uploader_adds(lead):
    begun = lead.post("/uploads/begin", {"files": 1, "bytes": 5}).json()
    colleague, annotator = Client(), Client()
    colleague.force_login(make_user("colleague", is_staff=True))
    annotator.force_login(make_user("ann"))
    addresses = [
        "/uploads/receive",
        "/uploads/begin",
        begun["slice"],
        begun["finish"],
        begun["delete"],
        "/uploads/1/check",
    ]
    assert {annotator.post(address).status_code for address in addresses} == {403}
    assert {annotator.get(address).status_code for address in ("/uploads/", "/uploads/1/")} == {403}
    assert Client().post("/uploads/receive").headers["Location"].startswith("/accounts/login/")
    query = "?number=0&name=1.png&size=5&offset=0"
    assert colleague.post(begun["slice"] + query, b"12345", content_type="application/octet-stream").status_code == 404
    assert colleague.get("/uploads/").status_code == 200


def test_slices_may_come_twice_and_continue_after_a_loss(lead):
    data = portraits(1)[0].read_bytes()
    half = len(data) // 2
    begun = lead.post("/uploads/begin", {"files": 2, "bytes": 2 * len(data)}).json()

    def add(number: int, offset: int, content: bytes, size: int = len(data)):
        query = f"?number={number}&name=p/{number}.jpg&size={size}&offset={offset}"
        return lead.post(begun["slice"] + query, content, content_type="application/octet-stream")

    assert add(0, 0, data[:half]).json() == {"size": half}
    assert add(0, half + 5, data[half + 5 :]).json() == {"size": half}  # a slice before it was lost
    assert add(0, 0, data[:half]).json() == {"size": half}
    assert add(0, half, data[half:]).json() == {"size": len(data)}
    assert add(0, half, data[half:]).json() == {"size": len(data)}
    assert add(2, 0, b"x").status_code == add(1, 0, b"xx", size=1).status_code == 400
    assert lead.post(begun["finish"]).json()["detail"].startswith("1 of 2 files have arrived")
    add(1, 0, data[:10])  # never completed
    assert Upload.objects.get().bytes == len(data) + 10
    for _repeated in range(2):
        assert lead.post(begun["finish"]).json() == {"address": f"/uploads/{Upload.objects.get().pk}/"}
    assert add(1, 10, b"x").json()["detail"] == "This upload has ended already."
    upload = Upload.objects.get()
    check_upload(upload.pk)
    upload.refresh_from_db()
    assert outcomes(upload) == {"p/0.jpg": "accepted", "p/1.jpg": "incomplete"}
    assert (upload.folder / "p/0.jpg").read_bytes() == data


@pytest.mark.database
def test_killed_check_runs_again_and_a_second_one_changes_nothing(lead):
    send(lead, ("1.png", picture()))
    upload = Upload.objects.get()
    (upload.quarantine.with_name(f"{upload.name}.dead")).mkdir()  # of an attempt that was killed
    (upload.folder / "half").mkdir(parents=True)
    assert check_upload(upload.pk)
    assert not check_upload(upload.pk)
    assert stored(upload.folder) == {"1.png"}
    assert not upload.quarantine.exists()


@pytest.mark.database
def test_second_ingest_of_an_upload_is_not_started(lead):
    upload = checked(lead, ("1.png", picture()))
    empty = lead.post(f"/uploads/{upload.pk}/", {"dataset": ""})
    assert (empty.status_code, "This field is required." in empty.content.decode()) == (400, True)
    wrong = {"dataset": "My Faces!", "identity_from": "folder", "size": "128"}
    assert "use at most 60 small letters" in lead.post(f"/uploads/{upload.pk}/", wrong).content.decode()
    assert not Job.objects.exists()
    form = {"dataset": "ours", "dataset_kind": "", "split": "", "identity_from": "folder", "size": "128"}
    started = [lead.post(f"/uploads/{upload.pk}/", form | {"dataset": name}) for name in ("ours", "ours", "other")]
    job = Job.objects.get()
    assert {answer.headers["Location"] for answer in started} == {f"/jobs/{job.pk}/"}
    assert f'id="job-upload" href="/uploads/{upload.pk}/"' in lead.get(f"/jobs/{job.pk}/").content.decode()
    assert job.values["path"] == f"upload:{upload.name}"
    assert str(upload.folder) in job.command
    assert "uses these photographs" in lead.post(f"/uploads/{upload.pk}/delete", follow=True).content.decode()
    label = dict(JobForm(KINDS["ingest"], user=User.objects.get()).fields["path"].choices)[upload.token]
    assert label.startswith("Upload of lead, ")
    assert label.endswith("1 photograph (deleted after ingest)")
    assert upload.token not in dict(JobForm(KINDS["caption"], user=User.objects.get()).fields["source"].choices)


def test_upload_of_low_quality_pictures_becomes_lq(lead):
    upload = checked(lead, ("1.png", picture()))
    form = {"pictures": "lq", "dataset": "old", "dataset_kind": "evaluation", "split": "", "size": "128"}
    job = lead.post(f"/uploads/{upload.pk}/", form | {"identity_from": "file"}).headers["Location"]
    assert f'id="job-upload" href="/uploads/{upload.pk}/"' in lead.get(job).content.decode()
    assert {name: Job.objects.get().values.get(name) for name in ("path", "lq")} == {"path": None, "lq": upload.token}
    assert f"--lq {upload.folder}" in Job.objects.get().command
    nothing = lead.post("/jobs/new/ingest/", {"size": "128", "identity_from": "file"}).content.decode()
    assert "Pass the folder of the photographs, or with --lq that of low-quality pictures." in nothing


@pytest.mark.parametrize(
    ("job", "keep", "deleted"),
    [
        ({"state": "done"}, False, True),
        ({"state": "done", "option": "lq"}, False, True),
        ({"state": "done"}, True, False),
        ({"state": "failed"}, False, False),
        ({"state": "done", "skipped": 1}, False, False),  # no photograph had a face
        ({"state": "done", "values": {"limit": "1"}}, False, False),
    ],
)
def test_originals_are_deleted_after_a_whole_ingest_unless_kept(lead, job, keep, deleted):
    upload = checked(lead, ("1.png", picture()))
    Upload.objects.update(keep=keep)
    job = dict(job)
    values = {job.pop("option", "path"): upload.token} | job.pop("values", {})
    Job.objects.create(kind="ingest", queue="stages", started_by=upload.uploader, values=values, **job)
    upkeep.tidy()
    assert upload.folder.exists() is upload.report.exists() is not deleted
    upload.refresh_from_db()
    assert (upload.state == State.INGESTED) is deleted
    assert lead.get("/uploads/").status_code == 200
    page = lead.get(f"/uploads/{upload.pk}/").content.decode()
    assert ("The ingest stored no face" in page) is bool(job.get("skipped"))


def test_upkeep_deletes_what_nobody_finished_and_leaves_the_rest(lead, settings):
    fresh, old, ready = (lead.post("/uploads/begin", {"files": 1, "bytes": 5}).json()["finish"] for _ in range(3))
    fresh, old, ready = (Upload.objects.get(pk=address.split("/")[2]) for address in (fresh, old, ready))
    Upload.objects.filter(pk=old.pk).update(touched_at=timezone.now() - timedelta(hours=25))
    Upload.objects.filter(pk=ready.pk).update(state=State.CHECKED, touched_at=timezone.now() - timedelta(days=13))
    upkeep.tidy()
    assert set(Upload.objects.all()) == {fresh, ready}
    assert (fresh.quarantine.exists(), old.quarantine.exists()) == (True, False)
    settings.JOB_FILE_DAYS = 12
    upkeep.tidy()
    assert set(Upload.objects.all()) == {fresh}


def test_deleted_upload_is_gone_and_logged(lead):
    upload = checked(lead, ("1.png", picture()))
    assert lead.post(f"/uploads/{upload.pk}/delete").headers["Location"] == "/uploads/"
    assert not Upload.objects.exists()
    assert not upload.folder.exists()
    assert not upload.report.exists()
    assert AuditEntry.objects.filter(action="delete-upload").count() == 1
