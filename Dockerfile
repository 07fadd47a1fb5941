# The daemon alone, for `docker run` and docker-compose.yml. `make image` builds it, also where no registry can be
# reached. BASE is any Debian with Python 3.11 or newer as python3, venv included.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
# What the locks pin comes from a package index, or from build/wheels where `make image` has put it there: then
# the build needs no network.
COPY requirements.txt build/wheel[s] wheels/
RUN python3 -m venv /opt/tradefan \
    && /opt/tradefan/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes \
        --find-links wheels $(ls wheels/*.whl >/dev/null 2>&1 && echo --no-index) -r wheels/requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY tradefan tradefan
# Nothing is installed where it runs: pip stays here.
RUN /opt/tradefan/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-deps \
        --no-build-isolation . \
    && /opt/tradefan/bin/python -m compileall -q -j 0 /opt/tradefan/lib \
    && /opt/tradefan/bin/python -m pip uninstall -q -y pip

FROM ${BASE}
# The folders of a volume take their owner from the image.
RUN groupadd --gid 10001 tradefan \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin tradefan \
    && install -d -o tradefan -g tradefan -m 0750 /data
COPY --from=build /opt/tradefan /opt/tradefan
COPY config /app/config
ENV PATH=/opt/tradefan/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TRADEFAN__DATA_DIR=/data \
    TRADEFAN__API__HOST=0.0.0.0
WORKDIR /app
USER 10001:10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["/opt/tradefan/bin/python", "-m", "tradefan.probe"]
ENTRYPOINT ["/opt/tradefan/bin/tradefan"]
CMD ["run", "-e", "development"]
