"""Fill the site of the browser tests: `python -m tests.support.browser_site PHOTOGRAPHS`.

Every test that answers has an annotator and a campaign of its own, since all tests share the site.
"""

import sys

import django

django.setup()

from django.core.management import call_command  # noqa: E402

from annotate.campaigns import guideline_examples, items, lifecycle  # noqa: E402
from annotate.models import Campaign, Pair, User  # noqa: E402
from tests.support.servers import PASSWORD  # noqa: E402

USERS = (
    *("keys", "reload", "double", "offline", "crash", "tabs", "plain", "viewer", "history", "too-fast", "phone"),
    *("learner", "access", "touch", "learns", "two-tabs", "three-tabs", "no-storage", "damaged", "shared", "other"),
    *("portal", "layouts", "focus", "captions", "ports", "notes", "editnotes", "undonotes", "ownkeys", "keyboard"),
)


def fill(folder: str) -> None:
    call_command("ingest", folder, "--size", "128", "--split", "train")
    for command in ("degrade", "caption", "restore", "build_pairs"):
        call_command(command)
    call_command("score", "--metrics", "ssim", "psnr", "lpips", "niqe")
    call_command("simulate_annotators", "--as-labels", "--limit", "6")
    lead = User.objects.create_superuser("lead", password=PASSWORD)
    for name in USERS:
        make_campaign(name)
    Campaign.objects.filter(slug="learns").update(
        consent="We **store** your answers.", tutorial="Look *closely*.", qualification_size=2, qualification_share=0
    )
    lifecycle.invite(
        campaign=Campaign.objects.get(slug="shared"), annotators=User.objects.filter(username="other"), actor=lead
    )
    study = Campaign(slug="study", name="Study", kind="study", show_reference=True, overlap=9)
    selection = lifecycle.Selection(restorer_pairs=(("dat-light", "lanczos"),))
    lifecycle.create_campaign(campaign=study, selection=selection, actor=lead)
    lifecycle.create_invitation(campaign=study, places=9, actor=lead)


def make_campaign(name: str) -> None:
    """Make an annotator and a campaign of that name over all contested pairs."""
    annotator = User.objects.create_user(name, password=PASSWORD)
    campaign = Campaign.objects.create(slug=name, name=name)
    contested = Pair.objects.filter(kind=Pair.Kind.CONTESTED)
    items.add_items(campaign=campaign, pairs=contested.values_list("pk", flat=True))
    lifecycle.invite(campaign=campaign, annotators=[annotator])
    guideline_examples.choose_examples(campaign=campaign)


if __name__ == "__main__":
    fill(sys.argv[1])
