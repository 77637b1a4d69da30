from django.contrib import admin
from django.contrib.auth import views as auth
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

from annotate import views
from annotate.api import views as api

urlpatterns = [
    path("", views.home, name="home"),
    path("campaigns/<slug:slug>/guideline", views.guideline, name="guideline"),
    path("campaigns/<slug:slug>/judge", views.judge, name="judge"),
    path("campaigns/<slug:slug>/answer", views.answer, name="answer"),
    path("campaigns/<slug:slug>/skip", views.skip, name="skip"),
    path("campaigns/<slug:slug>/undo", views.undo, name="undo"),
    path("campaigns/<slug:slug>/live", views.live, name="live"),
    path("campaigns/<slug:slug>/report", views.report, name="report"),
    path("runs/", views.runs, name="runs"),
    path("runs/<str:name>/", views.run, name="run"),
    path("runs/<str:name>/live", views.run_live, name="run_live"),
    path("runs/<str:name>/faces", views.run_faces, name="run_faces"),
    path("runs/<str:name>/<path:file>", views.run_file, name="run_file"),
    path("images/<uuid:key>", api.image, name="image"),
    path("health", views.health, name="health"),
    path("accounts/login/", auth.LoginView.as_view(template_name="annotate/login.html"), name="login"),
    path("accounts/logout/", auth.LogoutView.as_view(), name="logout"),
    path("api/v1/", include("annotate.api.urls")),
    path("favicon.ico", lambda request: RedirectView.as_view(url=static("icon.svg"))(request)),
    path("admin/", admin.site.urls),
]
