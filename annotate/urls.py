from django.contrib import admin
from django.contrib.auth import views as auth
from django.templatetags.static import static
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from annotate.accounts import views as accounts_views
from annotate.agreement import views as agreement_views
from annotate.api import views as api
from annotate.campaigns import actions, example_views, tabs
from annotate.campaigns import views as campaigns_views
from annotate.chain import views as chain_views
from annotate.desk import onboarding_views
from annotate.desk import views as desk_views
from annotate.gallery import views as gallery_views
from annotate.jobs import views as jobs_views
from annotate.leaderboard import views as leaderboard_views
from annotate.predictor import views as predictor_views
from annotate.runs import comparison_views
from annotate.runs import views as runs_views
from annotate.studies import views as studies_views
from annotate.uploads import views as uploads_views
from annotate.web import styleguide

handler400 = "annotate.web.errors.bad_request"
handler404 = "annotate.web.errors.not_found"
handler500 = "annotate.web.errors.server_error"

urlpatterns = [
    path("", chain_views.home, name="home"),
    path("overview", chain_views.overview, name="overview"),
    path("campaigns/", campaigns_views.home, name="campaigns"),
    path("campaigns/<slug:slug>/guideline", desk_views.guideline, name="guideline"),
    path("campaigns/<slug:slug>/judge", desk_views.judge, name="judge"),
    path("campaigns/<slug:slug>/begin", onboarding_views.begin, name="begin"),
    path("campaigns/<slug:slug>/consent", onboarding_views.agree, name="agree"),
    path("campaigns/<slug:slug>/tutorial", onboarding_views.tutored, name="tutored"),
    path("campaigns/<slug:slug>/qualification", onboarding_views.qualification, name="qualification"),
    path("join/<str:token>", onboarding_views.join, name="join"),
    path("return/<str:signed>", onboarding_views.come_back, name="come_back"),
    path("campaigns/<slug:slug>/answer", desk_views.answer, name="answer"),
    path("campaigns/<slug:slug>/skip", desk_views.skip, name="skip"),
    path("campaigns/<slug:slug>/undo", desk_views.undo, name="undo"),
    path("campaigns/<slug:slug>/history", desk_views.history, name="history"),
    path("campaigns/<slug:slug>/history/<uuid:token>", desk_views.change, name="change"),
    path("campaigns/new", campaigns_views.new, name="campaign_new"),
    path("campaigns/count", campaigns_views.count, name="campaign_count"),
    path("campaigns/preferences", campaigns_views.preference_counts, name="preference_counts"),
    path("campaigns/<slug:slug>/", tabs.overview, name="campaign"),
    path("campaigns/<slug:slug>/progress", tabs.campaign_live, name="campaign_live"),
    path("campaigns/<slug:slug>/people", tabs.people, name="campaign_people"),
    path("campaigns/<slug:slug>/people/accounts", tabs.accounts, name="campaign_accounts"),
    path("campaigns/<slug:slug>/pairs", tabs.pairs, name="campaign_pairs"),
    path("campaigns/<slug:slug>/settings", tabs.settings, name="campaign_settings"),
    path("campaigns/<slug:slug>/log", tabs.log, name="campaign_log"),
    path("campaigns/<slug:slug>/do/<slug:action>", actions.act, name="campaign_action"),
    path("styleguide", styleguide.styleguide, name="styleguide"),
    path("jobs/", jobs_views.jobs, name="jobs"),
    path("jobs/new/<slug:name>/", jobs_views.new, name="job_new"),
    path("jobs/new/<slug:name>/command", jobs_views.command, name="job_command"),
    path("jobs/<int:pk>/", jobs_views.job, name="job"),
    path("jobs/<int:pk>/live", jobs_views.job_live, name="job_live"),
    path("jobs/<int:pk>/do/<slug:action>", jobs_views.act, name="job_action"),
    path("jobs/<int:pk>/log", jobs_views.log, name="job_log"),
    path("jobs/<int:pk>/result", jobs_views.result, name="job_result"),
    path("uploads/", uploads_views.uploads, name="uploads"),
    path("uploads/receive", uploads_views.receive, name="upload_receive"),
    path("uploads/begin", uploads_views.begin, name="upload_begin"),
    path("uploads/<int:pk>/", uploads_views.upload, name="upload"),
    path("uploads/<int:pk>/live", uploads_views.upload_live, name="upload_live"),
    path("uploads/<int:pk>/slice", uploads_views.add_slice, name="upload_slice"),
    path("uploads/<int:pk>/finish", uploads_views.finish, name="upload_finish"),
    path("uploads/<int:pk>/delete", uploads_views.delete, name="upload_delete"),
    path("uploads/<int:pk>/check", uploads_views.check_again, name="upload_check"),
    path("campaigns/<slug:slug>/examples", example_views.examples, name="examples"),
    path("campaigns/<slug:slug>/examples/act", example_views.example_act, name="example_act"),
    path("campaigns/<slug:slug>/checks", example_views.checks, name="checks"),
    path("campaigns/<slug:slug>/checks/mark", example_views.mark_check, name="mark_check"),
    path("runs/", runs_views.runs, name="runs"),
    path("runs/compare", comparison_views.compare_runs, name="run_compare"),
    path("runs/compare.json", comparison_views.compare_data, name="run_compare_data"),
    path("runs/<str:name>/", runs_views.run, name="run"),
    path("runs/<str:name>/live", runs_views.run_live, name="run_live"),
    path("runs/<str:name>/faces", runs_views.run_faces, name="run_faces"),
    path("runs/<str:name>/<path:file>", runs_views.run_file, name="run_file"),
    path("images/<uuid:key>", api.image, name="image"),
    path("campaigns/<slug:slug>/study", studies_views.study_report, name="study_report"),
    re_path(r"^campaigns/(?P<slug>[-\w]+)/study\.(?P<form>csv|tex)$", studies_views.study_table, name="study_table"),
    path("campaigns/<slug:slug>/agreement", agreement_views.agreement, name="agreement"),
    re_path(
        r"^campaigns/(?P<slug>[-\w]+)/agreement\.(?P<form>html|csv|tex)$",
        agreement_views.agreement_file,
        name="agreement_file",
    ),
    path("faces/", gallery_views.faces, name="faces"),
    path("faces/<int:pk>/", gallery_views.face, name="face"),
    path("faces/<int:pk>/erase", gallery_views.erase, name="erase_face"),
    path("predictors", predictor_views.predictors, name="predictors"),
    path("leaderboard", leaderboard_views.leaderboard, name="leaderboard"),
    re_path(r"^leaderboard\.(?P<form>csv|tex)$", leaderboard_views.leaderboard_file, name="leaderboard_file"),
    path("language/", include("django.conf.urls.i18n")),
    path("accounts/login/", accounts_views.SignIn.as_view(), name="login"),
    path("accounts/", accounts_views.account, name="account"),
    path("accounts/password", accounts_views.change_password, name="change_password"),
    path("accounts/keys", accounts_views.change_hotkeys, name="change_hotkeys"),
    path("accounts/tokens", accounts_views.create_token, name="create_token"),
    path("accounts/tokens/<int:pk>/revoke", accounts_views.revoke_token, name="revoke_token"),
    path("accounts/logout/", auth.LogoutView.as_view(), name="logout"),
    path("api/v1/", include("annotate.api.urls")),
    path("favicon.ico", lambda request: RedirectView.as_view(url=static("icon.svg"))(request)),
    path("admin/login/", accounts_views.from_admin),
    path("admin/", admin.site.urls),
]
