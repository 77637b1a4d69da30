"""Published restorers with tiny networks in the layouts of their files, and their options and licences."""

import json

import pytest
import torch

from refl.errors import LicenceError, OptionError, WeightsError
from refl.networks.cubic_resize import cubic_matrix
from refl.networks.dr2 import open_dr2_spar
from refl.networks.linear_schedule import LinearSchedule
from refl.networks.loading import open_network
from refl.networks.sparnet import SPARNet, fold_spectral_norm
from refl.networks.vqfr_2 import open_vqfr_2
from refl.networks.vqfr_blocks import deformable_convolution, nearest_codes
from refl.policies.diffbir import controlnet_of, open_controlnet
from refl.policies.noise import content_seed
from refl.restorers import SYSTEMS, open_restorer
from refl.restorers.spec import Subject
from refl.weights import read_state, recognise
from rewardlab.assets import ASSETS, MissingAsset
from rewardlab.files import sha256_of
from rewardlab.snapshot_images import DataError
from tests.support import systems
from tests.support.systems import SIZE, SPARNET, UNET, VQFR_2

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:torch.meshgrid", "ignore:Already found a `peft_config`"),
]


def seeded_draw(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return lambda images: torch.randn(images.shape, generator=generator)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a weights folder with tiny files under the published names, in the states in which files come."""
    return systems.write(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def tiny(folder, monkeypatch):
    """Open tiny networks where the published ones are expected."""
    systems.shrink(monkeypatch, folder)


CASES = {
    "vqfr-1": {},
    "vqfr": {"fidelity": "0.7"},
    "dr2-spar": {"N": "4", "tau": "2"},
    "difface": {"steps": "10", "start": "2", "eta": "1.0"},
}


@pytest.mark.parametrize("name", CASES)
def test_system_keeps_size_and_range_in_any_batch(name, tiny):
    lq = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    restorer = open_restorer(name, options=CASES[name], accept_licence=True)
    restored = restorer.restore(lq)
    assert restored.shape == lq.shape
    assert restored.min() >= 0 and restored.max() <= 1 and restored.std() > 0
    torch.testing.assert_close(restorer.restore(lq[1:]), restored[1:], atol=1e-4, rtol=0)
    provenance = json.loads(json.dumps(restorer.provenance))
    parameters = provenance["parameters"]
    assert {key: str(parameters[key]) for key in CASES[name]} == CASES[name]
    assert parameters.get("licence_accepted", False) == SYSTEMS[name].noncommercial
    assert provenance["weights_file"] == ASSETS[SYSTEMS[name].assets[0]].file
    if len(SYSTEMS[name].assets) > 1:
        assert list(provenance["weights"]) == list(SYSTEMS[name].assets)


@pytest.mark.parametrize("name", ["osediff", "diffbir"])
def test_untuned_base_restores_as_its_policy(name, files, policies, lq, monkeypatch):
    monkeypatch.setenv("REWARDLAB_WEIGHTS", str(files.sd.parent))
    options = {"steps": "4", "start": "0.5", "eta": "0"} if name == "diffbir" else {}
    restorer = open_restorer(name, options=options, accept_licence=True)
    policy, seeds = policies[name], [content_seed(image) for image in lq]
    if name == "diffbir":
        monkeypatch.setattr(policy, "start", 0.5)
        monkeypatch.setattr(policy, "eta", 0.0)
    torch.testing.assert_close(restorer.restore(lq), policy.restore(lq, [""] * len(lq), seeds), atol=1e-4, rtol=0)
    provenance = json.loads(json.dumps(restorer.provenance))
    expected = {"steps": 4, "start": 0.5, "eta": 0.0, "licence_accepted": True} if options else {"timestep": 999}
    assert provenance["parameters"] == expected | {"prompt": "empty"}
    assert list(provenance["weights"]) == list(SYSTEMS[name].assets)


def test_untuned_base_needs_its_prompts(files, lq, tmp_path, monkeypatch):
    monkeypatch.setenv("REWARDLAB_WEIGHTS", str(files.sd.parent))
    table = tmp_path / "tags.csv"
    table.write_text("face,tags\n7,smiling face\n")
    restorer = open_restorer("osediff", options={"prompt": "file"}, prompts=table)
    assert restorer.provenance["parameters"]["prompts_sha256"] == sha256_of(table)
    tagged = restorer.restore(lq[:1], [Subject(7, "a caption")])
    assert not torch.equal(tagged, open_restorer("osediff").restore(lq[:1]))
    with pytest.raises(DataError, match=r"tags\.csv has no tags for face 8"):
        restorer.restore(lq[:1], [Subject(8, "")])
    with pytest.raises(ValueError, match="pass the subjects"):
        restorer.restore(lq[:1])
    with pytest.raises(DataError, match="needs a file of prompts"):
        open_restorer("osediff", options={"prompt": "file"})


def test_controlnet_is_read_from_a_file_of_all_diffbir(files, one_step, tmp_path):
    stored = torch.load(files.controlnet)
    whole = {f"control_model.{name}": value.half() for name, value in stored.items()}
    whole |= {"betas": torch.zeros(1000), "model.diffusion_model.out.0.weight": torch.zeros(1)}
    path = tmp_path / "face_full_v1.ckpt"
    torch.save({"state_dict": whole}, path)
    opened, plain = (open_controlnet(file, one_step.unet).state_dict() for file in (path, files.controlnet))
    for name, value in plain.items():
        torch.testing.assert_close(opened[name], value.half().float())
    with pytest.raises(WeightsError, match=r"face_full_v1\.ckpt .*unexpected: discriminator\.weight"):
        controlnet_of(whole | {"discriminator.weight": torch.zeros(1)}, path)


def test_restoreformer_plusplus_file_is_recognised(folder):
    path = folder / "RestoreFormer++.ckpt"
    network = recognise(read_state(path), path)
    assert network.architecture.id == "RestoreFormer++"
    assert len(network.model.decoder.up[4].attn) == 2 and not network.model.encoder.down[4].attn
    images = torch.rand(1, 3, SIZE, SIZE)
    assert network(images).shape == images.shape


def test_systems_name_their_files_licence_and_paper(tiny, tmp_path, monkeypatch):
    for spec in SYSTEMS.values():
        assert spec.citation and spec.licence and spec.title and set(spec.assets) <= set(ASSETS)
        restricted = any("non-commercial" in ASSETS[name].licence for name in spec.assets)
        assert spec.noncommercial == restricted, spec.name
        assert spec.parse({}) == {option.name: option.default for option in spec.options}
        for option in spec.options:
            assert option.parse(str(option.default), spec.name) == option.default
    with pytest.raises(LicenceError, match=r"difface is free for non-commercial.*S-Lab.*--accept-licence"):
        open_restorer("difface")
    monkeypatch.setenv("REWARDLAB_WEIGHTS", str(tmp_path))
    with pytest.raises(MissingAsset, match=r"(?s)dr2-spar cannot.*DR2_FFHQ\.pkl.*SPARNetHD_FFHQ_DR2aug\.pth"):
        open_restorer("dr2-spar", accept_licence=True)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vqfr", {"fidelity": "2"}, r"vqfr: fidelity cannot be '2'. It is a number from 0 to 1"),
        ("vqfr", {"fidelity": "nan"}, "cannot be 'nan'"),
        ("vqfr", {"w": "1"}, "vqfr has no option w. It has the options fidelity"),
        ("vqfr-1", {"w": "1"}, "vqfr-1 has no option w. It has no options"),
        ("dr2-spar", {"N": "3"}, r"N cannot be '3'. It is one of 1, 2, 4"),
        ("dr2-spar", {"tau": "1.5"}, r"tau cannot be '1.5'. It is an integer from 0 to 99"),
        ("difface", {"steps": "50", "start": "50"}, "start cannot be 50, since the chain has 50 steps"),
        ("osediff", {"prompt": "tags"}, "prompt cannot be 'tags'. It is one of empty, caption, file"),
        ("lanczos", {"w": "1"}, "lanczos has no option w"),
    ],
)
def test_invalid_options_are_refused(name, options, message, tiny):
    with pytest.raises(OptionError, match=message):
        open_restorer(name, options=options, accept_licence=True)


def test_results_of_other_options_have_their_own_name(tiny):
    named = open_restorer("vqfr", options={"fidelity": "1"}, result="vqfr-faithful")
    assert named.name == named.provenance["name"] == "vqfr-faithful"
    lq = torch.rand(1, 3, SIZE, SIZE)
    assert not torch.equal(named.restore(lq), open_restorer("vqfr").restore(lq))


def test_files_that_do_not_fit_name_their_tensors(folder, tmp_path):
    state = torch.load(folder / "VQFR_v2.pth")["params_ema"]
    path = tmp_path / "broken.pth"
    for change, message in {
        "without": "missing: feat2index.1.bias",
        "with": "unexpected: extra.weight",
        "shape": r"wrong shape: feat2index.1.bias \(2,\) instead of \(16,\)",
        "text": "its entry epoch is a int, not a tensor",
    }.items():
        broken = dict(state)
        del broken["feat2index.1.bias"]
        if change != "without":
            broken["feat2index.1.bias"] = torch.zeros(2 if change == "shape" else 16)
        broken |= {"with": {"extra.weight": torch.zeros(1)}, "text": {"epoch": 3}}.get(change, {})
        torch.save(broken, path)
        with pytest.raises(WeightsError, match=rf"broken\.pth .*{message}"):
            open_vqfr_2(path, config=VQFR_2)
    stored = torch.load(folder / "SPARNetHD_FFHQ_DR2aug.pth")
    torch.save({name: value for name, value in stored.items() if name != "out_conv.conv2d.weight_u"}, path)
    with pytest.raises(WeightsError, match=r"broken\.pth .*out_conv\.conv2d\.weight_u"):
        open_network(lambda: SPARNet(SPARNET), path, fold_spectral_norm)


def test_spectral_norm_divides_by_the_largest_singular_value(folder):
    network = open_network(lambda: SPARNet(SPARNET), folder / "SPARNetHD_FFHQ_DR2aug.pth", fold_spectral_norm)
    assert torch.linalg.svdvals(network.out_conv.conv2d.weight.flatten(1))[0] == pytest.approx(1, abs=1e-5)


def test_deformable_convolution_reads_at_shifted_positions():
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 8, 6, 5, generator=generator), torch.randn(4, 8, 3, 3, generator=generator)
    bias, groups = torch.randn(4, generator=generator), 2
    still, whole = torch.zeros(2, 2 * groups * 9, 6, 5), torch.ones(2, groups * 9, 6, 5)
    plain = torch.nn.functional.conv2d(x, weight, bias, padding=1)
    torch.testing.assert_close(deformable_convolution(x, still, whole, weight, bias), plain)
    shifted = still.clone()
    shifted[:, 0::2] = 1.0  # one row down
    lower = torch.nn.functional.pad(x, (1, 1, 0, 2))  # beyond the edge there are zeros
    torch.testing.assert_close(
        deformable_convolution(x, shifted, whole, weight, bias),
        torch.nn.functional.conv2d(lower, weight, bias),
        atol=1e-5,
        rtol=0,
    )
    half = deformable_convolution(x, still, 0.5 * whole, weight, bias)
    torch.testing.assert_close(half, (plain + bias[:, None, None]) / 2)


def test_nearest_codes_are_chosen():
    codes = torch.tensor([[0.0, 0.0], [1.0, 1.0], [5.0, -5.0]])
    features = torch.tensor([[0.4, 0.8], [4.0, -9.0]]).T.reshape(1, 2, 1, 2)
    assert nearest_codes(features, codes)[0, :, 0].T.tolist() == [[1.0, 1.0], [5.0, -5.0]]


def test_cubic_matrix_is_matlabs():
    halved = cubic_matrix(8, 4)
    step = halved @ torch.tensor([0.0, 0, 0, 0, 1, 1, 1, 1])  # imresize(step, 0.5)
    torch.testing.assert_close(step, torch.tensor([-0.01171875, 0.06640625, 0.93359375, 1.01171875]))
    torch.testing.assert_close(halved.sum(1), torch.ones(4))
    torch.testing.assert_close(cubic_matrix(5, 5), torch.eye(5))


def test_schedule_steps_lead_back_to_the_clean_image():
    schedule = LinearSchedule(range(0, 1000, 100))
    clean, noise = torch.rand(1, 3, 4, 4) * 2 - 1, torch.randn(1, 3, 4, 4)
    x = schedule.add_noise(clean, noise, 9)
    torch.testing.assert_close(schedule.clean(x, noise, 9), clean, atol=1e-4, rtol=0)
    for index in reversed(range(10)):
        x = schedule.ddim(schedule.clean(x, noise, index), noise, noise, 0.0, index)
    torch.testing.assert_close(x, clean, atol=1e-4, rtol=0)
    assert float(schedule.alpha_bar[0]) == pytest.approx(1 - 1e-4)
    torch.testing.assert_close(schedule.ancestral(x, clean, noise, noise, 0), clean, atol=1e-4, rtol=0)


def test_dr2_keeps_the_low_frequencies_of_its_input(folder):
    paths = folder / "DR2_FFHQ.pkl", folder / "SPARNetHD_FFHQ_DR2aug.pth"
    network = open_dr2_spar(*paths, N=1, tau=0, config=UNET, enhancer=SPARNET, size=32)
    assert network.remover.start == 5  # the authors' rule: tau + 5 for N = 1
    seen = []
    network.remover.unet.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    images = torch.rand(1, 3, 32, 32)
    network.remover(2 * images - 1, seeded_draw())
    assert len(seen) == 6
    # With N = 1 everything is replaced, so each step gets the input with its own noise.
    draws = seeded_draw()
    first = draws(images)
    torch.testing.assert_close(seen[0], network.remover.schedule.add_noise(2 * images - 1, first, 5))
    draws(images)
    torch.testing.assert_close(
        seen[1], network.remover.schedule.add_noise(2 * images - 1, draws(images), 4), atol=1e-5, rtol=0
    )
