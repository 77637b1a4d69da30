"""Files of the published restorers in the states in which they are passed on: read, or refused by name."""

from functools import cache

import pytest
import torch
from safetensors.torch import save_file

from refl.errors import WeightsError
from refl.networks.adm_unet import ADMUNet
from refl.networks.loading import open_network
from refl.networks.sparnet import SPARNet, fold_spectral_norm
from refl.networks.swinir import open_swinir
from refl.networks.vqfr_1 import open_vqfr_1
from refl.networks.vqfr_2 import open_vqfr_2
from refl.policies.diffbir import open_controlnet
from refl.policies.feed_forward import open_codeformer, open_gfpgan
from refl.policies.osediff import open_osediff
from refl.weights import read_state, recognise
from rewardlab.assets import ASSETS
from tests.support import systems
from tests.support.diffusion import UNet2DConditionModel

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:torch.meshgrid", "ignore:Already found a `peft_config`"),
]
# The file of each system and of each stage 1: asset -> a function that opens it.
OPENERS = {
    "gfpgan-1.3": lambda file, folder: open_gfpgan(file).network,
    "gfpgan-1.4": lambda file, folder: open_gfpgan(file).network,
    "restoreformer": lambda file, folder: recognise(read_state(file), file).model,
    "restoreformer-plusplus": lambda file, folder: recognise(read_state(file), file).model,
    "vqfr-1": lambda file, folder: open_vqfr_1(file, systems.VQFR_1),
    "vqfr-2": lambda file, folder: open_vqfr_2(file, config=systems.VQFR_2),
    "dr2": lambda file, folder: open_network(lambda: ADMUNet(systems.UNET), file),
    "sparnethd-dr2": lambda file, folder: open_network(lambda: SPARNet(systems.SPARNET), file, fold_spectral_norm),
    "difface": lambda file, folder: open_network(lambda: ADMUNet(systems.PLAIN_UNET), file),
    "difface-swinir": lambda file, folder: open_swinir(file, "difface-swinir"),
    "diffbir-swinir-face": lambda file, folder: open_swinir(file, "diffbir-swinir-face"),
    "diffbir-face": lambda file, folder: open_controlnet(file, unet_of(folder)),
}
if systems.HAS_CODEFORMER:
    OPENERS["codeformer"] = lambda file, folder: open_codeformer(file).network
OTHERS = {"discriminator": {"conv.weight": torch.zeros(1)}, "optimizer": {"step": 3}, "epoch": 7}
STATES = {
    "bare": lambda state: state,
    "half": lambda state: {name: _halved(value) for name, value in state.items()},
    "module": lambda state: {f"module.{name}": value for name, value in state.items()},
    "state_dict": lambda state: {"state_dict": state, "epoch": 7, "global_step": 9},
    "params": lambda state: {"params": state},
    "params_ema": lambda state: {"params": {n: torch.zeros_like(v) for n, v in state.items()}, "params_ema": state},
    "generator": lambda state: {"generator": state, **OTHERS},
    "g_ema": lambda state: {"g_ema": state, **OTHERS},
}


def _halved(value):
    return value.half() if value.is_floating_point() else value


@cache
def unet_of(folder):
    return UNet2DConditionModel.from_pretrained(folder / ASSETS["sd-2.1-base"].file / "unet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = systems.write(tmp_path_factory.mktemp("weights"))
    if systems.HAS_CODEFORMER:
        systems.write_codeformer(folder)
    return folder


def stored_in(folder, asset):
    """Return the tensors of a file, without nesting, in float32."""
    state = read_state(folder / ASSETS[asset].file)
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


@pytest.mark.parametrize("asset", OPENERS)
def test_file_is_read_in_every_state(asset, folder, tmp_path):
    stored = stored_in(folder, asset)
    expected = OPENERS[asset](folder / ASSETS[asset].file, folder).state_dict()
    files = {state: tmp_path / f"{state}.pth" for state in STATES}
    for state, change in STATES.items():
        torch.save(change(stored), files[state])
    save_file({name: value.contiguous() for name, value in stored.items()}, tmp_path / "bare.safetensors")
    for file in (*files.values(), tmp_path / "bare.safetensors"):
        found = OPENERS[asset](file, folder).state_dict()
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name].dtype == value.dtype, (file.name, name)
            torch.testing.assert_close(
                found[name], value, atol=2e-3, rtol=2e-3, equal_nan=True, msg=lambda text, file=file: file.name + text
            )


@pytest.mark.parametrize("asset", OPENERS)
def test_every_tensor_of_a_file_is_used_or_refused(asset, folder, tmp_path):
    stored = stored_in(folder, asset)
    file = tmp_path / "mine.pth"
    name = max(name for name in stored if not name.startswith("loss.") and stored[name].ndim > 1)
    for changed, named in (
        (stored | {"strange.weight": torch.zeros(1)}, r"strange\.weight"),
        ({key: value for key, value in stored.items() if key != name}, ""),
        (stored | {name: stored[name][:0]}, ""),
    ):
        torch.save(changed, file)
        with pytest.raises(WeightsError, match=rf"(?s)mine\.pth.*{named}"):
            OPENERS[asset](file, folder)


def test_osediff_is_read_in_half_precision_but_not_as_safetensors(folder, tmp_path):
    sd, published = folder / ASSETS["sd-2.1-base"].file, folder / ASSETS["osediff-face"].file
    stored = torch.load(published, weights_only=True)
    halved = {
        name: {key: value.half() for key, value in entry.items()} if name.startswith("state_dict") else entry
        for name, entry in stored.items()
    }
    torch.save(halved, tmp_path / "half.pkl")
    policy = open_osediff(sd, tmp_path / "half.pkl")
    for network, entry in ((policy.unet, "state_dict_unet"), (policy.codec.vae, "state_dict_vae")):
        found = network.state_dict()
        for name, value in stored[entry].items():
            assert found[name].dtype == torch.float32
            torch.testing.assert_close(found[name], value, atol=2e-3, rtol=2e-3)
    save_file(stored["state_dict_unet"], tmp_path / "lora.safetensors")
    with pytest.raises(WeightsError, match=r"lora\.safetensors is not an OSEDiff checkpoint: it lacks rank_unet"):
        open_osediff(sd, tmp_path / "lora.safetensors")


def test_nesting_that_is_not_known_is_refused_by_name(folder, tmp_path):
    stored = stored_in(folder, "vqfr-2")
    torch.save({"teacher": stored, "student": stored}, tmp_path / "mine.pth")
    for opener in (OPENERS["vqfr-2"], OPENERS["gfpgan-1.4"], OPENERS["restoreformer"]):
        with pytest.raises(WeightsError, match=r"(?s)mine\.pth.*(teacher|student)"):
            opener(tmp_path / "mine.pth", folder)
    with pytest.raises(WeightsError, match=r"stable-diffusion-2-1-base is a folder, not a weights file"):
        OPENERS["vqfr-2"](folder / ASSETS["sd-2.1-base"].file, folder)
