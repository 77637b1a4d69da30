# The targets: `web` runs the site and its background tasks; `training` also prepares photographs, trains and restores.
# BASE needs Python 3.11 or newer as python3, with venv, on Debian.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/venv/bin:$PATH
RUN python3 -m venv /opt/venv
COPY requirements.txt /build/
# The site and its worker load none of these.
RUN grep -vE '^(accelerate|diffusers|huggingface-hub|lpips|open_clip_torch|opencv-python-headless|peft|spandrel|tensorboard|timm|torch|torchvision|transformers)==' \
    /build/requirements.txt > /build/requirements-web.txt \
    && pip install -r /build/requirements-web.txt

FROM packages AS wheel
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE NOTICE /build/
COPY annotate /build/annotate
COPY refl /build/refl
COPY rewardlab /build/rewardlab
COPY static /build/static
COPY templates /build/templates
COPY locale /build/locale
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels /build

FROM packages AS program
COPY --from=wheel /wheels /wheels
RUN pip install --no-deps /wheels/*.whl \
    && DATA_ROOT=/tmp/build STATIC_ROOT=/opt/static UMASK=022 diffusionreward collectstatic --no-input --verbosity 0

FROM packages AS training-program
RUN pip install -r /build/requirements.txt
# pyiqa is for non-commercial use only; --build-arg PYIQA=no leaves it out.
ARG PYIQA=yes
COPY requirements-pyiqa.txt /build/
RUN test "$PYIQA" = no || pip install --no-deps -r /build/requirements-pyiqa.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-deps /wheels/*.whl

FROM ${BASE} AS web
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 DATA_ROOT=/data STATIC_ROOT=/opt/static
# pg_dump and pg_restore, for `backup` and `recover` of PostgreSQL.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-client \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --shell /usr/sbin/nologin diffusionreward \
    && install --directory --owner=diffusionreward --group=diffusionreward --mode=0700 /data
COPY --from=program /opt/venv /opt/venv
COPY --from=program /opt/static /opt/static
USER diffusionreward
WORKDIR /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=4 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=8)"]
CMD ["diffusionreward", "serve", "--bind", "0.0.0.0:8000", "--keep-static"]

FROM web AS training
COPY --from=training-program /opt/venv /opt/venv
HEALTHCHECK NONE
CMD ["diffusionreward", "help"]
