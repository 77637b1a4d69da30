"""The model: HPSv2's checkpoints, trainable layers, and equal scores by all ways of calling it."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import rewardlab
from rewardlab import assets, images
from rewardlab import clip as rewardlab_clip
from rewardlab.assets import MissingAsset
from rewardlab.clip import open_clip
from rewardlab.errors import ModelError
from rewardlab.reward_model import backbones, reward_sources
from rewardlab.reward_model import model as frm
from rewardlab.reward_model.configs import TrainConfig
from rewardlab.reward_model.model import Preprocess, resize, resize_by_products
from rewardlab.training.runs import Run, RunError
from tests.support.preferences import TINY


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A checkpoint in HPSv2's layout, and the JSON of its architecture."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    tensors = rewardlab_clip.build(TINY).state_dict()
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}}, folder / "hps.pt"
    )
    (folder / "tiny.json").write_text(json.dumps(TINY))
    return folder


@pytest.fixture(scope="module")
def portraits():
    """Three photographs, one of them not square."""
    found = sorted(assets.find("demo-faces").glob("*.jpg"))[:3]
    return [images.read(path)[:300, :300] for path in found[:2]] + [images.read(found[2])[:300, :200]]


def open_tiny(tiny, **options):
    return backbones.open_hpsv2(tiny / "hps.pt", str(tiny / "tiny.json"), **options)


def test_hpsv2_checkpoint_is_loaded_completely(tiny):
    model = open_tiny(tiny)
    stored = torch.load(tiny / "hps.pt", weights_only=True)["state_dict"]
    assert {f"module.{name}" for name in model.clip.state_dict()} == set(stored)
    assert all(torch.equal(tensor, stored[f"module.{name}"]) for name, tensor in model.clip.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda keys: keys.pop("module.visual.proj"), "missing: visual.proj"),
        (lambda keys: keys.update({"module.head.weight": torch.zeros(2)}), "unexpected: head.weight"),
        (
            lambda keys: keys.update({"module.visual.proj": torch.zeros(2, 3)}),
            r"wrong shape: visual.proj \(2, 3\) instead of",
        ),
        (lambda keys: keys.clear(), "no state_dict of tensors"),
    ],
    ids=["missing", "unexpected", "shape", "empty"],
)
def test_checkpoint_of_other_backbone_is_refused(tiny, tmp_path, change, message):
    stored = torch.load(tiny / "hps.pt", weights_only=True)
    change(stored["state_dict"])
    torch.save(stored, tmp_path / "other.pt")
    with pytest.raises(ModelError, match=f"other.pt.*{message}"):
        backbones.open_hpsv2(tmp_path / "other.pt", str(tiny / "tiny.json"))


def test_truncated_or_executable_checkpoint_is_refused(tiny, tmp_path):
    (tmp_path / "cut.pt").write_bytes((tiny / "hps.pt").read_bytes()[:1000])
    torch.save({"state_dict": {"x": subprocess.Popen}}, tmp_path / "code.pt")
    for name in ("cut.pt", "code.pt"):
        with pytest.raises(ModelError, match=name):
            backbones.open_hpsv2(tmp_path / name, str(tiny / "tiny.json"))
    with pytest.raises(ModelError, match="ViT-Q-1"):
        backbones.open_hpsv2(tiny / "hps.pt", "ViT-Q-1")


def trainable_blocks(model) -> tuple[set[str], set[str], set[str]]:
    """Return the names of trainable parts: vision blocks, text blocks, the rest."""
    vision, text, rest = set(), set(), set()
    for name, parameter in model.clip.named_parameters():
        if parameter.requires_grad:
            parts = name.split(".")
            if name.startswith("visual.transformer.resblocks."):
                vision.add(parts[3])
            elif name.startswith("transformer.resblocks."):
                text.add(parts[2])
            else:
                rest.add(name.removesuffix(".weight").removesuffix(".bias"))
    return vision, text, rest


HEADS = {"visual.ln_post", "visual.proj", "ln_final", "text_projection", "logit_scale"}


def test_lock_leaves_only_last_layers_trainable(tiny):
    model = open_tiny(tiny)
    backbones.lock(model, image_layers=3, text_layers=2)
    # As HPSv2 counts: three groups of the image encoder are two blocks and the projection.
    assert trainable_blocks(model) == ({"1", "2"}, {"1", "2"}, HEADS)


def test_vit_h_14_trains_vision_13_to_31_and_text_13_to_23():
    config = open_clip.get_model_config("ViT-H-14")
    with torch.device("meta"):
        clip = rewardlab_clip.build(config)
    model = frm.FaceRewardModel(clip, None, Preprocess(), config)
    backbones.lock(model, image_layers=20, text_layers=11)
    wanted = {str(block) for block in range(13, 32)}, {str(block) for block in range(13, 24)}, HEADS
    assert trainable_blocks(model) == wanted
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert round(trained / 1e6, 1) == 514.8


def test_preprocess_of_tensor_equals_preprocess_of_file(portraits):
    preprocess = Preprocess(size=224)
    config = {
        "size": 224,
        "mean": preprocess.mean,
        "std": preprocess.std,
        "interpolation": "bicubic",
        "resize_mode": "longest",
    }
    transform = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**config), is_train=False)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocess.mean, preprocess.std))
    for portrait in portraits:
        by_file, by_tensor = (
            255 * (prepared * std + mean)
            for prepared in (transform(Image.fromarray(portrait)), preprocess(images.to_tensor([portrait]))[0])
        )
        difference = (by_file - by_tensor).abs()
        assert difference.mean() < 0.5
        assert difference.flatten().quantile(0.99) < 1.5


@pytest.mark.parametrize("antialias", [True, False])
def test_deterministic_resize_equals_bicubic_in_value_and_gradient(antialias):
    pictures = torch.rand(2, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    found = []
    for function in (resize, resize_by_products):
        given = pictures.clone().requires_grad_()
        resized = function(given, (28, 21), antialias=antialias)
        resized.square().sum().backward()
        found.append((resized.detach(), given.grad))
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-5)
    assert found[0][0].shape == (2, 3, 28, 21)


def test_preprocess_without_antialias_is_plain_bicubic(portraits):
    image = images.to_tensor([portraits[0]])
    preprocess = Preprocess(size=64, mean=(0, 0, 0), std=(1, 1, 1), antialias=False)
    bare = torch.nn.functional.interpolate(image, (64, 64), mode="bicubic", align_corners=False)
    assert torch.equal(preprocess(image), bare)
    assert not torch.allclose(Preprocess(size=64, mean=(0, 0, 0), std=(1, 1, 1))(image), bare, atol=0.01)


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    frm.save(open_tiny(tiny), folder / "hpsv2")
    frm.save(backbones.open_compact(seed=0), folder / "compact")
    return folder


@pytest.mark.parametrize("backbone", ["hpsv2", "compact"])
def test_open_clip_gives_same_score_from_saved_folder(saved, portraits, backbone):
    ours = rewardlab.load(saved / backbone)
    place = f"local-dir:{saved / backbone}"
    theirs, preprocess = open_clip.create_model_from_pretrained(place)
    tokens = open_clip.get_tokenizer(place)(["The face of a woman."])
    picture = portraits[0]
    with torch.no_grad():
        image = theirs.eval().encode_image(preprocess(Image.fromarray(picture))[None], normalize=True)
        expected = (image @ theirs.encode_text(tokens, normalize=True).T).item()
        score = ours.score(images.to_tensor([picture]), "The face of a woman.").item()
    assert score == pytest.approx(expected, abs=0.003)  # open_clip resizes 8-bit images, which rounds


@pytest.mark.parametrize("backbone", ["hpsv2", "compact"])
def test_score_is_differentiable_and_independent_of_batch(saved, portraits, backbone):
    model = rewardlab.load(saved / backbone)
    batch = images.to_tensor(portraits[:2]).requires_grad_()
    captions = ["The face of a man.", "A woman with glasses."]
    scores = model.train().score(batch, captions)
    scores.sum().backward()
    assert (batch.grad != 0).float().mean() > 0.99
    alone = torch.cat([model.score(batch[index : index + 1], captions[index]) for index in range(2)])
    assert torch.allclose(scores, alone, atol=1e-6)
    with pytest.raises(ValueError, match="2 images need 2 captions or one, not 3"):
        model.score(batch, ["one", "two", "three"])
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
        model.score(batch[0], "one")


def test_reward_models_are_found_by_run_folder_and_release(tiny, tmp_path, monkeypatch, portraits):
    root, folder = tmp_path / "runs", tmp_path / "release"
    folder.mkdir()
    monkeypatch.setenv("REWARDLAB_WEIGHTS", str(folder))
    with pytest.raises(MissingAsset, match=r"weights fetch hpsv2\.1"):
        reward_sources.find("hpsv2.1", root, "--frm")
    shutil.copy(tiny / "hps.pt", folder / "HPS_v2.1_compressed.pt")
    monkeypatch.setattr(reward_sources, "ARCHITECTURE", str(tiny / "tiny.json"))  # small enough for a test
    released = reward_sources.find("hpsv2.1", root, "--frm")
    model = released.open()
    assert (released.kind, released.null_text, released.layers) == ("released", False, (20, 11))
    assert not model.training

    frm.save(model, tmp_path / "mine")
    (tmp_path / "mine" / "config.json").write_text('{"architectures": ["BertModel"]}')  # of its text encoder
    of_folder = reward_sources.find(str(tmp_path / "mine"), root, "--frm")
    assert (of_folder.kind, of_folder.name) == ("folder", "mine")
    scores = [each.open().score(images.to_tensor(portraits[:2]), "a face") for each in (released, of_folder)]
    assert torch.equal(*scores)

    run = Run(root / "mine")
    frm.save(model, run.model)
    run.create(kind="frm", config=TrainConfig(null_text=True), start={}, images=root)
    with pytest.raises(RunError, match="--frm mine: this run is not done"):
        reward_sources.find("mine", root, "--frm")
    run.write_status("done", step=1, total=1)
    for name in ("mine", str(run.folder)):
        found = reward_sources.find(name, root, "--frm")
        assert (found.kind, found.path, found.null_text) == ("run", run.folder, True)
    with pytest.raises(RunError, match=r"--frm other is not a reward model. Name a run of train_frm, a model folder"):
        reward_sources.find("other", root, "--frm")


def test_moved_folder_opens_and_broken_folder_is_refused(saved, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(saved / "compact", moved)
    assert rewardlab.load(moved).score(torch.rand(1, 3, 64, 64), "A face.").shape == (1,)
    weights = moved / frm.WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="damaged or truncated"):
        rewardlab.load(moved)
    weights.unlink()
    with pytest.raises(ModelError, match=f"{frm.WEIGHTS_FILE} is missing"):
        rewardlab.load(moved)
    with pytest.raises(ModelError, match="not a model folder"):
        rewardlab.load(tmp_path)


def test_command_line_scores_images_and_names_unreadable_ones(saved, portraits, tmp_path):
    for number, portrait in enumerate(portraits):
        Image.fromarray(portrait).save(tmp_path / f"{number}.png")
    (tmp_path / "rubbish.png").write_bytes(b"not an image")
    Image.new("RGB", (3000, 1)).save(tmp_path / "thin.png")
    files = [str(path) for path in sorted(tmp_path.glob("*.png"))]
    command = [sys.executable, "-m", "rewardlab.score", "--model", str(saved / "hpsv2"), "--text", "A face.", *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "rubbish.png" in done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [float(score) for score, _ in lines] == sorted((float(score) for score, _ in lines), reverse=True)
    scores = {path: float(score) for score, path in lines}
    assert str(tmp_path / "thin.png") in scores
    model = rewardlab.load(saved / "hpsv2")
    for number, portrait in enumerate(portraits):
        expected = model.score(images.to_tensor([portrait]), "A face.").item()
        assert scores[str(tmp_path / f"{number}.png")] == pytest.approx(expected, abs=1e-4)


def test_compact_image_tower_classifies_a_cat():
    """Check that all weights are loaded into the right layers."""
    from skimage import data as pictures

    trunk = backbones.open_compact(seed=0).clip.visual.trunk
    import timm

    classifier = timm.create_model("tf_efficientnet_lite0").eval()
    stored = torch.load(assets.find("efficientnet-lite0"), weights_only=True)
    classifier.load_state_dict(trunk.state_dict(), strict=False)
    classifier.classifier.load_state_dict({"weight": stored["_fc.weight"], "bias": stored["_fc.bias"]})
    cat = Preprocess(224, (0.5,) * 3, (0.5,) * 3)(images.to_tensor([np.asarray(pictures.chelsea()[:, 75:375])]))
    assert classifier(cat).argmax().item() in (281, 282, 285)  # ImageNet's tabby, tiger and Egyptian cat
