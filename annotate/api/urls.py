from django.urls import path
from drf_spectacular.views import SpectacularAPIView

from annotate.api import views

urlpatterns = [
    path("token", views.Token.as_view(), name="token"),
    path("campaigns", views.campaigns, name="api-campaigns"),
    path("campaigns/<slug:slug>/next", views.next_item, name="api-next"),
    path("campaigns/<slug:slug>/undo", views.undo, name="api-undo"),
    path("campaigns/<slug:slug>/history", views.history, name="api-history"),
    path("campaigns/<slug:slug>/progress", views.campaign_progress, name="api-progress"),
    path("judgements", views.judgements, name="api-judgements"),
    path("skips", views.skips, name="api-skips"),
    path("schema", SpectacularAPIView.as_view(), name="schema"),
]
