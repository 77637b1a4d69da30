"""The Django admin with its models grouped by subject, not by the app that defines them."""

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest
from django.urls import reverse

SUBJECTS = {
    "Pictures": ("Dataset", "Face", "Candidate", "Restorer", "Pair", "Score"),
    "Judging": (*("Campaign", "GoldSet", "ScorerAnswers", "Item", "Lease", "Judgement", "Invitation", "Trial"),),
    "Labels and predictors": ("Preference", "Predictor", "AutoLabel", "LabelPolicy", "LearningCurve"),
    "Jobs, runs and snapshots": ("Job", "Upload", "StageRun", "Snapshot", "OrmQ", "Success", "Failure", "Schedule"),
    "Accounts and safety": ("User", "AccessToken", "AuditEntry", "FailedSignIn", "KnownAddress"),
}


class SubjectSite(AdminSite):
    site_header = site_title = "DiffusionReward"
    index_title = "All stored data"

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Return the subjects in place of the apps; the page of one app stays as Django has it."""
        apps: list[Any] = super().get_app_list(request, app_label)
        if app_label:
            return apps
        models = {model["object_name"]: model for app in apps for model in app["models"]}
        subjects = {title: [models.pop(name) for name in names if name in models] for title, names in SUBJECTS.items()}
        subjects["Other"] = list(models.values())  # registered, and in no subject yet
        return [
            {
                "name": title,
                "app_label": title.lower().replace(" ", "-"),
                "app_url": reverse("admin:index"),
                "has_module_perms": True,
                "models": shown,
            }
            for title, shown in subjects.items()
            if shown
        ]


class SubjectAdmin(AdminConfig):
    default_site = "annotate.web.admin_site.SubjectSite"
