"""A tuned run with share 0 restores as the published restorer of the same files and options."""

from dataclasses import replace

import pytest
import torch
from django.core.management import CommandError, call_command

from refl import model_card
from refl.bases import BASES
from refl.configs import PRESETS, ReflConfig
from refl.errors import LicenceError
from refl.policies import open_policy, tuned_weights
from refl.restorers import SYSTEMS, open_restorer
from rewardlab.assets import ASSETS
from rewardlab.training import runs
from tests.support import systems
from tests.support.tuning import prepared

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:torch.meshgrid", "ignore:Already found a `peft_config`"),
]
OPTIONS = {
    "osediff": {},
    "diffbir": {"steps": "3", "eta": "0.5"},
    "gfpgan": {},
    "dr2": {"N": "4", "tau": "1"},
}
if systems.HAS_CODEFORMER:
    OPTIONS["codeformer"] = {"fidelity": "0.7"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return systems.write(tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize("base", OPTIONS)
def test_tuned_at_share_0_equals_the_untuned_restorer(base, place, config, folder, monkeypatch):
    systems.shrink(monkeypatch, folder)
    if base == "codeformer":
        systems.write_codeformer(folder)
    system = SYSTEMS[BASES[base].system]
    values = system.parse(OPTIONS[base])
    fields = {field: values[name] for name, field in BASES[base].options.items()}
    config = replace(config, base=base, **{"steps": PRESETS[base].steps, "reg": PRESETS[base].reg, **fields})
    run = prepared(place, config, f"share-{base}", base=None, judge=None, files={"accept_licence": True})
    policy = open_policy.open_base(open_policy.locate_all(run), run.start, config)
    with torch.no_grad():
        for value in policy.trainable().values():
            value.add_(0.05 * torch.randn(value.shape, generator=torch.Generator().manual_seed(3)))
    tuned_weights.save(policy, run.model)
    run.write_status("done", step=1, total=1)

    untuned = open_restorer(system.name, options=OPTIONS[base], accept_licence=True)
    tuned, at_0 = (open_restorer(f"{run.name}{share}", run_root=place / "runs") for share in ("", "@0"))
    assert {name: at_0.provenance["parameters"][name] for name in BASES[base].options} == {
        name: untuned.provenance["parameters"][name] for name in BASES[base].options
    }
    for provenance in (at_0.provenance, untuned.provenance):
        assert provenance["licence"] == system.licence
        assert provenance["parameters"].get("licence_accepted", False) == system.noncommercial
    assert system.licence in model_card.write(run)
    for size in (systems.SIZE, 48)[: 1 if base == "codeformer" else 2]:
        lq = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(size))
        expected = untuned.restore(lq)
        assert torch.equal(at_0.restore(lq), expected)
        assert not torch.allclose(tuned.restore(lq), expected, atol=1e-3)


def test_bases_and_their_restorers_have_the_same_defaults():
    for name, base in BASES.items():
        system = SYSTEMS[base.system]
        assert system.base == name and system.assets == base.assets and set(base.assets) <= set(ASSETS)
        for option in system.options:
            if option.name in base.options:
                field = base.options[option.name]
                assert getattr(PRESETS[name], field) == option.default, (name, field)
                for value in option.choices:
                    assert getattr(ReflConfig(**{"base": name, "reg": PRESETS[name].reg, field: value}), field) == value


def test_noncommercial_base_is_refused_before_anything_is_read(place, config, settings):
    settings.RUN_ROOT = place / "runs"
    command = ["--base", "dr2", "--frm", "nowhere", "--run", "asked"]
    asked = r"dr2-spar is free for non-commercial use only\. Its licence: .*--accept-licence"
    with pytest.raises(CommandError, match=asked):
        call_command("refl", *command, "--faces", "nowhere")
    with pytest.raises(LicenceError, match=asked):
        prepared(place, replace(config, base="dr2"), "asked", base=None)
    assert not runs.open_run(place / "runs", "asked").exists()
    with pytest.raises(CommandError, match="nowhere"):
        call_command("refl", *command, "--faces", str(place / "faces.jsonl"), "--accept-licence")
