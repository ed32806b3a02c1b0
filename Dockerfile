# syntax=docker/dockerfile:1
# understudy in a container, as a user without rights, with its ONNX Runtime beside it:
#   docker build --target cpu  --tag understudy .
#   docker build --target cuda --tag understudy:cuda .        # run with --gpus all; x86-64
#   docker run --rm understudy doctor

# The executable. Debian 12's glibc is the oldest of the stages, so that it runs in all of them.
FROM rust:1.95-slim-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/target,sharing=locked \
    CARGO_TARGET_DIR=/target cargo build --release --locked \
    && install -D --strip /target/release/understudy /out/understudy

# ONNX Runtime, by pinned sha256.
FROM python:3.13-slim-bookworm AS onnxruntime-cpu
COPY tools/setup.py /tools/setup.py
RUN UNDERSTUDY_CACHE=/cache python3 /tools/setup.py runtime && mv /cache/onnxruntime/* /onnxruntime

FROM python:3.13-slim-bookworm AS onnxruntime-cuda
COPY tools/setup.py /tools/setup.py
RUN UNDERSTUDY_CACHE=/cache python3 /tools/setup.py runtime-cuda && mv /cache/onnxruntime-gpu/* /onnxruntime

# ONNX Runtime 1.31.1 for CUDA is built against CUDA 13 and cuDNN 9; CUDA 13 needs an NVIDIA driver of 580 or later.
FROM nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04 AS cuda
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home understudy
COPY --from=onnxruntime-cuda /onnxruntime /opt/onnxruntime
COPY --from=build /out/understudy /usr/local/bin/understudy
COPY pipelines /usr/local/share/understudy/pipelines
ENV ORT_DYLIB_PATH=/opt/onnxruntime/libonnxruntime.so
USER 10001
WORKDIR /home/understudy
ENTRYPOINT ["understudy"]
CMD ["--help"]

# The last stage is what `docker build .` makes.
FROM debian:bookworm-slim AS cpu
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home understudy
COPY --from=onnxruntime-cpu /onnxruntime /opt/onnxruntime
COPY --from=build /out/understudy /usr/local/bin/understudy
COPY pipelines /usr/local/share/understudy/pipelines
ENV ORT_DYLIB_PATH=/opt/onnxruntime/libonnxruntime.so
USER 10001
WORKDIR /home/understudy
ENTRYPOINT ["understudy"]
CMD ["--help"]
