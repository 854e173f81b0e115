# Three stages: build the wheel, install it with its packages, copy only the installed files into the
# image. The tags name exact versions; add a digest (image:tag@sha256:…) if others can change the
# images of your registry.
ARG RUST=rust:1.95.0-slim-bookworm
ARG PYTHON=python:3.11.14-slim-bookworm

# ---- the wheel, with the native core -------------------------------------------------------------
FROM ${RUST} AS wheel
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY requirements/dev.txt requirements/
# Only maturin, in the version that requirements/dev.txt pins.
RUN awk '/^[a-z]/ { on = /^maturin==/ } on' requirements/dev.txt > requirements/maturin.txt \
    && python3 -m venv /tools \
    && /tools/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements/maturin.txt
COPY pyproject.toml Cargo.toml Cargo.lock README.md LICENSE ./
COPY native native
COPY migrations migrations
COPY service service
COPY provision provision
RUN /tools/bin/maturin build --release --locked --out /wheels

# ---- the packages, with their hashes, and the wheel ------------------------------------------------
FROM ${PYTHON} AS packages
RUN python -m venv --without-pip /opt/forebay
COPY requirements/run.txt /requirements/
RUN pip --python /opt/forebay/bin/python install --no-cache-dir --no-deps --only-binary :all: \
    --require-hashes -r /requirements/run.txt
COPY --from=wheel /wheels /wheels
RUN pip --python /opt/forebay/bin/python install --no-cache-dir --no-deps /wheels/*.whl

# ---- the image -------------------------------------------------------------------------------------
FROM ${PYTHON}
LABEL org.opencontainers.image.title="Forebay" \
    org.opencontainers.image.description="Segment-style analytics events over HTTP, each one in PostgreSQL exactly once" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=packages /opt/forebay /opt/forebay
# The service listens on all addresses of the container; the host decides which ports it publishes.
ENV PATH=/opt/forebay/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FOREBAY_HOST=0.0.0.0 \
    FOREBAY_METRICS_HOST=0.0.0.0 \
    FOREBAY_LOG_FORMAT=json
# This user owns no files. The service writes only to /tmp: the metrics files of the workers.
USER 10001:10001
WORKDIR /
EXPOSE 8000 9100
STOPSIGNAL SIGTERM
# Not /health/ready: orchestrators restart an unhealthy container, and a restart does not repair a
# database. The start period is long because the service listens only after it has reached a usable
# database.
HEALTHCHECK --interval=5s --timeout=3s --start-period=1h --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ.get('FOREBAY_PORT', '8000') + '/health/live', timeout=2)"]
CMD ["forebay", "serve"]
