"""Pages with the faces and all their images. For leads; only admins delete."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods

from annotate.gallery import erasure
from annotate.gallery import faces as gallery
from annotate.gallery.forms import EraseForm, FilterForm
from annotate.models import Face
from annotate.web.requests import Request, leads_only
from rewardlab.metrics.registry import METRICS

MOST_DIGITS = 18


@login_required
@require_GET
def faces(request: Request) -> HttpResponse:
    leads_only(request, _("Only leads can open the gallery."))
    form = FilterForm(request.GET)
    wanted = form.filter()
    text = request.GET.get("after", "")
    after = int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else 0
    rows, has_more = gallery.page(wanted, after=after)
    query = request.GET.copy()
    query.pop("after", None)
    context = {"form": form, "rows": rows, "count": wanted.select().count(), "query": query.urlencode()}
    if has_more:
        query["after"] = str(rows[-1].face.pk)
        context["more"] = query.urlencode()
    return render(
        request, "annotate/gallery/faces.html", context | {"is_filtered": bool(wanted != gallery.FaceFilter())}
    )


@login_required
@require_GET
def face(request: Request, pk: int) -> HttpResponse:
    leads_only(request, _("Only leads can open the gallery."))
    found = get_object_or_404(Face.objects.select_related("dataset"), pk=pk)
    images = gallery.with_images(found)
    scored = {name for image in images for name in image.scores}
    metrics = [(name, metric) for name, metric in METRICS.items() if name in scored]
    table = [(metric, [image.scores.get(name) for image in images]) for name, metric in metrics]
    others = Face.objects.filter(identity=found.identity).exclude(pk=pk).order_by("pk")
    context = {"face": found, "images": images, "table": table, "pairs": gallery.pairs_of(found), "others": others}
    return render(request, "annotate/gallery/face.html", context)


@login_required
@require_http_methods(["GET", "POST"])
def erase(request: Request, pk: int) -> HttpResponse:
    """Show what would be deleted with a face or a person, and delete it."""
    if not request.user.is_superuser:
        raise PermissionDenied(_("Only admins can delete faces."))
    found = get_object_or_404(Face, pk=pk)
    form = EraseForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        wanted = erasure.faces_of(found, whole_person=form.cleaned_data["scope"] == "person")
        done = erasure.erase(wanted, actor=request.user, reason=form.cleaned_data["reason"])
        messages.success(
            request,
            ngettext(
                "%(n)s face and everything that depended on it was deleted.",
                "%(n)s faces and everything that depended on them were deleted.",
                done.faces,
            )
            % {"n": done.faces},
        )
        return redirect("faces")
    planned = {
        "face": erasure.planned([found]),
        "person": erasure.planned(erasure.faces_of(found, whole_person=True)),
    }
    context = {"face": found, "form": form, "planned": planned}
    return render(request, "annotate/gallery/erase.html", context, status=400 if form.errors else 200)
