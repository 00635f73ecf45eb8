# The service as an image. Settings are mounted at /etc/fleet-sync, state is kept in /var/lib/fleet-sync, the key comes
# as CHARGE_API_KEY or as a file named by CHARGE_API_KEY_FILE. Needs nothing but that: the root may be read-only, e.g.
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --stop-timeout 60 -e CHARGE_API_KEY \
#     -v ./config:/etc/fleet-sync:ro -v fleet-sync:/var/lib/fleet-sync fleet-sync

# For a build that is the same every time, name the base by digest:
#   --build-arg PYTHON_IMAGE=python:3.13-slim-bookworm@sha256:…   (docker buildx imagetools inspect shows it)
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

# ---- the wheel of fleet-sync itself, by a build backend that the lock pins
FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /src
COPY requirements/build.txt requirements/
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
    --require-hashes -r requirements/build.txt
COPY pyproject.toml ./
COPY worker/ worker/
RUN pip wheel --no-cache-dir --disable-pip-version-check --no-index --no-deps --no-build-isolation --wheel-dir /wheels .

# ---- everything that runs, in one folder; the dependencies first, since they change less often
FROM ${PYTHON_IMAGE} AS install
COPY requirements/runtime.txt /src/requirements/
RUN python -m venv /opt/fleet-sync \
    && /opt/fleet-sync/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary :all: \
    --require-hashes -r /src/requirements/runtime.txt
COPY --from=wheel /wheels/ /wheels/
# pip goes when it is done: the service installs nothing.
RUN /opt/fleet-sync/bin/pip install --no-cache-dir --disable-pip-version-check --no-index --no-deps /wheels/*.whl \
    && /opt/fleet-sync/bin/pip uninstall --yes --quiet pip

# ---- the image
FROM ${PYTHON_IMAGE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fleet-sync" \
    org.opencontainers.image.description="Keeps the fleets of Charge drivers as the configured sources say" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"

# A fixed number, so that the owner of a volume means the same on every host. The folders exist with that owner before
# VOLUME: a fresh volume takes it over.
RUN groupadd --gid 10001 fleet-sync \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /var/lib/fleet-sync \
    --shell /usr/sbin/nologin fleet-sync \
    && install -d -m 0755 /etc/fleet-sync \
    && install -d -m 0750 -o 10001 -g 10001 /var/lib/fleet-sync
# The base comes without bytecode, and this user could write none: every start and every health check would compile the
# standard library again.
RUN python -m compileall -q -x '/(ensurepip|idlelib|lib2to3|site-packages|test|tests|tkinter|turtledemo)/' \
    "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=install /opt/fleet-sync /opt/fleet-sync

ENV PATH=/opt/fleet-sync/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FLEET_SYNC_CONFIG=/etc/fleet-sync/fleet-sync.toml \
    FLEET_SYNC_JOURNAL__URL=sqlite:////var/lib/fleet-sync/fleet-sync.db

# By number: a cluster that insists on a user other than root cannot look up a name.
USER 10001:10001
WORKDIR /var/lib/fleet-sync
VOLUME /var/lib/fleet-sync

# The first signal drains: writes in flight finish, the journal is flushed. Give it time (--stop-timeout).
STOPSIGNAL SIGTERM

# Healthy: the journal's folder can be written, and the settings and every source can be read, as the next run will need
# them. It neither looks for the key nor opens the journal, and asks Charge nothing, so an outage there is not ours. That
# the process lives needs no check (the container ends with it); a loop that hangs is not seen here.
HEALTHCHECK --interval=2m --timeout=60s --start-period=30s --retries=3 \
    CMD ["sh", "-c", "test -w /var/lib/fleet-sync && exec fleet-sync check"]

ENTRYPOINT ["fleet-sync"]
CMD ["run"]
