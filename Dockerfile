# The image of the controller. Build:  docker build -t REGISTRY/aliquot:VERSION .
# Everything that is installed is named with its hash in requirements/run.txt; nothing else is fetched.
ARG PYTHON=3.13-slim

FROM python:${PYTHON} AS build
WORKDIR /build
COPY requirements/run.txt requirements/run.txt
RUN python -m venv --without-pip /opt/aliquot \
 && python -m pip --python /opt/aliquot/bin/python install --no-cache-dir --no-compile --only-binary :all: \
    --require-hashes --requirement requirements/run.txt
COPY src/aliquot /build/aliquot
# The root file system is read-only when it runs, so byte code is made now. Tests of libraries are left behind.
RUN packages="$(/opt/aliquot/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
 && cp -r /build/aliquot "$packages/aliquot" \
 && find "$packages" -type d -name tests -prune -exec rm -rf {} + \
 && /opt/aliquot/bin/python -m compileall -q -j 0 "$packages" \
 && printf '#!/opt/aliquot/bin/python\nfrom aliquot.cli.main import main\nmain()\n' > /opt/aliquot/bin/aliquot \
 && chmod 0755 /opt/aliquot/bin/aliquot

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="aliquot" \
      org.opencontainers.image.description="Decides which accelerator, or which exact part of one, each AI workload gets" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/aliquot /opt/aliquot
ENV PATH=/opt/aliquot/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/opt/aliquot/bin/aliquot"]
CMD ["--help"]
