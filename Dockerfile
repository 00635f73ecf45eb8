# The service as an image. Settings are mounted at /etc/fleet-sync, state is kept in /var/lib/fleet-sync, and the key is
# passed as CHARGE_API_KEY or as a file named by CHARGE_API_KEY_FILE. The root file system may be read-only:
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --stop-timeout 60 -e CHARGE_API_KEY \
#     -v ./config:/etc/fleet-sync:ro -v fleet-sync:/var/lib/fleet-sync fleet-sync

# For a reproducible build, name the base image by digest:
#   --build-arg PYTHON_IMAGE=python:3.13-slim-bookworm@sha256:…   (docker buildx imagetools inspect shows it)
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

# ---- the wheel of fleet-sync, built by a backend that the lock pins
FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /src
COPY requirements/build.txt requirements/
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
    --require-hashes -r requirements/build.txt
COPY pyproject.toml ./
COPY worker/ worker/
RUN pip wheel --no-cache-dir --disable-pip-version-check --no-index --no-deps --no-build-isolation --wheel-dir /wheels .

# ---- a virtual environment with everything; dependencies first, because they change less often
FROM ${PYTHON_IMAGE} AS install
COPY requirements/runtime.txt /src/requirements/
RUN python -m venv /opt/fleet-sync \
    && /opt/fleet-sync/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary :all: \
    --require-hashes -r /src/requirements/runtime.txt
COPY --from=wheel /wheels/ /wheels/
# The service installs nothing, so pip is removed.
RUN /opt/fleet-sync/bin/pip install --no-cache-dir --disable-pip-version-check --no-index --no-deps /wheels/*.whl \
    && /opt/fleet-sync/bin/pip uninstall --yes --quiet pip

# ---- the image
FROM ${PYTHON_IMAGE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fleet-sync" \
    org.opencontainers.image.description="Keeps driver-fleet memberships in Charge in sync with the lists you maintain" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"

# For sources in Git repositories. Debian's security updates come with a new build of the image.
# hadolint ignore=DL3008
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends ca-certificates git openssh-client \
    && rm -rf /var/lib/apt/lists/*

# A fixed number, so that a volume has the same owner on every host. The folders get that owner before VOLUME, because a
# new volume inherits it.
RUN groupadd --gid 10001 fleet-sync \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /var/lib/fleet-sync \
    --shell /usr/sbin/nologin fleet-sync \
    && install -d -m 0755 /etc/fleet-sync \
    && install -d -m 0750 -o 10001 -g 10001 /var/lib/fleet-sync
# The base image has no bytecode, and this user cannot write any: without this, every start and every health check would
# compile the standard library again.
RUN python -m compileall -q -x '/(ensurepip|idlelib|lib2to3|site-packages|test|tests|tkinter|turtledemo)/' \
    "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=install /opt/fleet-sync /opt/fleet-sync

ENV PATH=/opt/fleet-sync/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FLEET_SYNC_CONFIG=/etc/fleet-sync/fleet-sync.toml \
    FLEET_SYNC_JOURNAL__URL=sqlite:////var/lib/fleet-sync/fleet-sync.db

# By number: a cluster that forbids root cannot look up a name.
USER 10001:10001
WORKDIR /var/lib/fleet-sync
VOLUME /var/lib/fleet-sync

# The first signal drains: writes in flight finish and the journal is flushed. Allow time for it (--stop-timeout).
STOPSIGNAL SIGTERM

# Healthy means that the journal's folder is writable and that the settings and every source can be read. The check does
# not look for the key, open the journal or call Charge, so an outage of Charge does not make the container unhealthy. It
# does not notice a hanging event loop; if the process ends, the container ends with it.
HEALTHCHECK --interval=2m --timeout=60s --start-period=30s --retries=3 \
    CMD ["sh", "-c", "test -w /var/lib/fleet-sync && exec fleet-sync check"]

ENTRYPOINT ["fleet-sync"]
CMD ["run"]
