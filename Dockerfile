# openai_proxy as a container: `make image` or `docker compose up`. Everything it keeps is in the volume /data.

FROM node:22-slim AS page
WORKDIR /page
COPY openai_proxy/admin/page/package.json openai_proxy/admin/page/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY openai_proxy/admin/page/ ./
RUN npm run build

FROM python:3.13-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/openai-proxy
WORKDIR /src
COPY requirements.lock ./
COPY openai_proxy/compiled/requirements.lock compiled.lock
RUN /opt/openai-proxy/bin/pip install --no-cache-dir --require-hashes -r requirements.lock \
    && python -m pip install --no-cache-dir --only-binary :all: --require-hashes --target /compiler -r compiled.lock
COPY pyproject.toml setup.py README.md LICENSE ./
COPY openai_proxy/ openai_proxy/
COPY --from=page /page/dist/ openai_proxy/admin/page/dist/
RUN /opt/openai-proxy/bin/python -c "import pathlib, sys; sys.path.insert(0, 'openai_proxy/admin'); import page_build; \
pathlib.Path('openai_proxy/admin/page/dist/.sources').write_text(page_build.digest())" \
    && OPENAI_PROXY_COMPILE=1 PYTHONPATH=/compiler /opt/openai-proxy/bin/pip install --no-cache-dir --no-deps \
        --no-build-isolation --no-index .

FROM python:3.13-slim AS openai-proxy
LABEL org.opencontainers.image.title="openai_proxy" \
      org.opencontainers.image.description="The LLM proxy for a home server" \
      org.opencontainers.image.licenses="MIT"
RUN useradd --system --uid 10001 --user-group --home-dir /data --no-create-home openai-proxy \
    && install -d -o openai-proxy -g openai-proxy /data
COPY --from=build /opt/openai-proxy/ /opt/openai-proxy/
COPY packaging/entrypoint.sh /usr/local/bin/openai-proxy-entrypoint
ENV PATH=/opt/openai-proxy/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/data
USER openai-proxy
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
# Through the control socket, so that it works with any port, keys and hosts.
HEALTHCHECK --interval=60s --timeout=10s --start-period=20s --retries=3 CMD ["openai-proxy", "status"]
ENTRYPOINT ["sh", "/usr/local/bin/openai-proxy-entrypoint"]
CMD ["serve"]
