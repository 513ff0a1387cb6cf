# One image for every process: web (default), worker, beat, migrate.
FROM python:3.11-slim AS build
WORKDIR /app
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
COPY requirements.lock ./
RUN /venv/bin/pip install --require-hashes --no-deps -r requirements.lock
COPY manage.py pyproject.toml ./
COPY config config
COPY workspaces workspaces
COPY integrations integrations
COPY templates templates
COPY static static
# The secrets are for this one command and stay in no layer: nothing is written with them.
RUN ENV_FILE= VAR_DIR=/tmp/build STATIC_MANIFEST=1 \
    SECRET_KEY="$(python -c 'import secrets; print(secrets.token_urlsafe(64))')" \
    FERNET_KEYS="$(/venv/bin/python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())')" \
    /venv/bin/python manage.py collectstatic --no-input && rm -rf /tmp/build
RUN /venv/bin/python -m compileall -q config workspaces integrations

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /app grantry && install -d -o grantry -m 0700 /var/lib/grantry
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 STATIC_MANIFEST=1 VAR_DIR=/var/lib/grantry
USER grantry
VOLUME /var/lib/grantry
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
CMD ["python", "manage.py", "serve", "--host", "0.0.0.0", "--port", "8000"]
