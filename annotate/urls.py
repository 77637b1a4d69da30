from django.contrib import admin
from django.contrib.auth import views as auth
from django.templatetags.static import static
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from annotate.api import views as api
from annotate.views import agreement, campaigns, desk, home, joining, leaderboard, predictors, runs, sign_in, studies

handler400 = "annotate.views.errors.bad_request"
handler404 = "annotate.views.errors.not_found"
handler500 = "annotate.views.errors.server_error"

urlpatterns = [
    path("", home.home, name="home"),
    path("campaigns/<slug:slug>/guideline", home.guideline, name="guideline"),
    path("campaigns/<slug:slug>/judge", desk.judge, name="judge"),
    path("campaigns/<slug:slug>/begin", joining.begin, name="begin"),
    path("campaigns/<slug:slug>/consent", joining.agree, name="agree"),
    path("campaigns/<slug:slug>/tutorial", joining.tutored, name="tutored"),
    path("campaigns/<slug:slug>/qualification", joining.qualification, name="qualification"),
    path("join/<str:token>", joining.join, name="join"),
    path("return/<str:signed>", joining.come_back, name="come_back"),
    path("campaigns/<slug:slug>/answer", desk.answer, name="answer"),
    path("campaigns/<slug:slug>/skip", desk.skip, name="skip"),
    path("campaigns/<slug:slug>/undo", desk.undo, name="undo"),
    path("campaigns/<slug:slug>/history", desk.history, name="history"),
    path("campaigns/<slug:slug>/history/<uuid:token>", desk.change, name="change"),
    path("campaigns/<slug:slug>/live", home.live, name="live"),
    path("campaigns/new", campaigns.new, name="campaign_new"),
    path("campaigns/count", campaigns.count, name="campaign_count"),
    path("campaigns/preferences", campaigns.preference_counts, name="preference_counts"),
    path("campaigns/<slug:slug>/", campaigns.campaign, name="campaign"),
    path("campaigns/<slug:slug>/progress", campaigns.campaign_live, name="campaign_live"),
    path("campaigns/<slug:slug>/do/<slug:action>", campaigns.act, name="campaign_action"),
    path("runs/", runs.runs, name="runs"),
    path("runs/<str:name>/", runs.run, name="run"),
    path("runs/<str:name>/live", runs.run_live, name="run_live"),
    path("runs/<str:name>/faces", runs.run_faces, name="run_faces"),
    path("runs/<str:name>/<path:file>", runs.run_file, name="run_file"),
    path("images/<uuid:key>", api.image, name="image"),
    path("campaigns/<slug:slug>/study", studies.study_report, name="study_report"),
    re_path(r"^campaigns/(?P<slug>[-\w]+)/study\.(?P<form>csv|tex)$", studies.study_table, name="study_table"),
    path("campaigns/<slug:slug>/agreement", agreement.agreement, name="agreement"),
    re_path(
        r"^campaigns/(?P<slug>[-\w]+)/agreement\.(?P<form>html|csv|tex)$",
        agreement.agreement_file,
        name="agreement_file",
    ),
    path("predictors", predictors.predictors, name="predictors"),
    path("leaderboard", leaderboard.leaderboard, name="leaderboard"),
    re_path(r"^leaderboard\.(?P<form>csv|tex)$", leaderboard.leaderboard_file, name="leaderboard_file"),
    path("language/", include("django.conf.urls.i18n")),
    path("health", home.health, name="health"),
    path("accounts/login/", sign_in.SignIn.as_view(), name="login"),
    path("accounts/logout/", auth.LogoutView.as_view(), name="logout"),
    path("api/v1/", include("annotate.api.urls")),
    path("favicon.ico", lambda request: RedirectView.as_view(url=static("icon.svg"))(request)),
    path("admin/login/", sign_in.from_admin),
    path("admin/", admin.site.urls),
]
