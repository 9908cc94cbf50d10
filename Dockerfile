# The page and the service, for a processor. See docs/server.md for how to run it.
FROM python:3.11-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY src src
RUN python -m venv /opt/dpenet \
    && /opt/dpenet/bin/pip install --no-cache-dir -c constraints.txt '.[server,video,heif]'

FROM python:3.11-slim-bookworm
COPY --from=build /opt/dpenet /opt/dpenet
# The root file system may be read-only: models are mounted, compiled networks stay in memory.
ENV PATH=/opt/dpenet/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    DPENET_HOME=/models \
    DPENET_COMPILED_CACHE=0 \
    DPENET_SERVER_HOST=0.0.0.0 \
    DPENET_SERVER_PORT=8000
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from os import environ; from urllib.request import urlopen; urlopen(f'http://127.0.0.1:{environ[\"DPENET_SERVER_PORT\"]}/healthz', timeout=4)"]
ENTRYPOINT ["dpenet", "serve"]
