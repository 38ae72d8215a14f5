
FROM openai-proxy AS app
USER root
COPY packaging/homeassistant/run.sh /usr/local/bin/openai-proxy-app
HEALTHCHECK --interval=60s --timeout=10s --start-period=20s --retries=3 CMD ["openai-proxy", "status", "--state-dir", "/data/state"]
ENTRYPOINT ["sh", "/usr/local/bin/openai-proxy-app"]
CMD []
