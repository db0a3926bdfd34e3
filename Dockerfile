# Tarkib's commands in a container; the folder that they work in is /work.
#
#   docker build --tag tarkib .
#   docker run --rm --volume "$PWD:/work" tarkib predict song.mp3
#   docker run --rm --volume "$PWD:/work" --network host tarkib app --no-browser
#
# torch comes from the package index with CUDA, for `docker run --gpus all`. For a small image without it, give the
# address of PyTorch's index of CPU wheels: --build-arg TORCH_INDEX=...
FROM python:3.11-slim AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
# DVC's experiments need Git, of any version.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/*
COPY requirements.lock requirements-musicnn.lock /tmp/
ARG TORCH_INDEX=""
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.11.0 torchaudio==2.11.0
COPY --from=wheel /wheels /tmp/wheels
RUN pip install --no-cache-dir --constraint /tmp/requirements.lock "$(echo /tmp/wheels/*.whl)[formats]" \
    && pip install --no-cache-dir --no-deps --require-hashes --requirement /tmp/requirements-musicnn.lock
RUN useradd --create-home --uid 1000 listener
USER 1000
WORKDIR /work
ENTRYPOINT ["tarkib"]
CMD ["--help"]
