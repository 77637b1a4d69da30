"""The site of which pictures are taken: mean faces, restored, judged by simulated annotators, and a tuned restorer."""

import tempfile
from pathlib import Path

from tests.pictures.mean_faces import write_mean_faces
from tests.support.servers import PASSWORD, Deployment

FACES = 64
SHARES = "train=.6,gold=.15,test=.25"
ANSWERS = 220  # fewer than the campaign asks for, so that its page shows one that is still running
ANNOTATORS = 6  # with fewer the leaderboard has no intervals by annotator
LEAD, ANNOTATOR = "lead", "annotator1"
JUDGED, DESK = "portraits", "desk"  # the campaigns
RUN = "tuned"
# The campaign on the desk compares the two restorers that differ most, and its annotator has not answered yet.
SET_UP = f"""
from annotate.campaigns import guideline_examples, lifecycle
from annotate.models import Campaign, User
lead = User.objects.create_superuser({LEAD!r}, password={PASSWORD!r})
annotator = User.objects.create_user({ANNOTATOR!r}, password={PASSWORD!r})
judged = Campaign(slug={JUDGED!r}, name="Restored portraits", overlap=2, repeat_share=0.1, seed=1)
lifecycle.create_campaign(campaign=judged, selection=lifecycle.Selection(), actor=lead)
desk = Campaign(slug={DESK!r}, name="Desk", seed=1)
differing = lifecycle.Selection(splits=("train",), restorer_pairs=(("lanczos", "realesrgan-x4plus"),))
lifecycle.create_campaign(campaign=desk, selection=differing, actor=lead)
lifecycle.invite(campaign=desk, annotators=[annotator])
"""


def prepare(site: Deployment) -> None:
    """Fill an empty site, with the commands that a lab would use."""
    with tempfile.TemporaryDirectory() as folder:
        write_mean_faces(Path(folder), FACES)
        site.manage("ingest", folder, "--aligned", "--size", "256", "--split", SHARES)
    site.manage("caption")
    site.manage("degrade", "--preset", "demo")
    site.manage("restore")
    site.manage("build_pairs")
    site.manage("score", "--metrics", "ssim", "psnr", "lpips", "niqe")
    site.manage("shell", "-v0", "-c", SET_UP)
    panel = ("--campaign", JUDGED, "--annotators", str(ANNOTATORS), "--limit", str(ANSWERS))
    site.manage("simulate_annotators", "--as-labels", *panel)
    site.manage("fit_predictor")
    reward_model = ("train_frm", "--backbone", "compact")
    monitored = ("--held-out", "8")
    site.manage(*reward_model, *training("frm", 60))
    site.manage(*reward_model, "--seed", "1", *training("judge", 60))
    site.manage("train_base", *training("base", 300), *monitored)
    sources = ("--base", "compact", "--base-run", "base", "--frm", "frm", "--judge", "judge")
    site.manage("refl", *sources, *training(RUN, 48), *monitored)


def training(run: str, iterations: int) -> tuple[str, ...]:
    numbers = {"iterations": iterations, "log-every": 5, "save-every": 20, "evaluate-every": iterations // 4}
    return ("--run", run, *(word for name, number in numbers.items() for word in (f"--{name}", str(number))))
