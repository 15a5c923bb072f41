# The images of BrainMVP Server. Three targets:
#
#   docker build --target cpu    -t brainmvp-server:0.1.0-cpu .       the service on CPUs
#   docker build --target gpu    -t brainmvp-server:0.1.0-gpu .       the service on NVIDIA GPUs
#     --build-arg GPU_PACKAGES=gpu-torch -t …:0.1.0-gpu-torch         the same with PyTorch alone
#   docker build --target export -t brainmvp-server:0.1.0-export .    brainmvp export, with torch
#
# Packages come from locks/*.txt with their digests; `make lock` renews those. What a build can't
# know is an argument: base images (pin them by digest where you build for others).
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm
# onnxruntime-gpu and tensorrt-cu13 in locks/gpu.txt are built for this CUDA. TensorRT's libraries come
# from https://pypi.nvidia.com, which the build must reach.
ARG CUDA_IMAGE=docker.io/nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04
# gpu: TensorRT and ONNX Runtime. gpu-torch: PyTorch, which brings CUDA's libraries itself.
ARG GPU_PACKAGES=gpu

# The project's wheel, the same in all three.
FROM ${PYTHON_IMAGE} AS wheel
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 SOURCE_DATE_EPOCH=1735689600
WORKDIR /source
COPY locks/build.txt locks/build.txt
RUN python3 -m venv /build && /build/bin/pip install --require-hashes -r locks/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY models models
COPY server server
COPY export export
COPY clients clients
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM ${PYTHON_IMAGE} AS cpu-packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY locks/cpu.txt /locks/cpu.txt
RUN python3 -m venv /opt/brainmvp \
 && /opt/brainmvp/bin/pip install --require-hashes --only-binary :all: -r /locks/cpu.txt
COPY --from=wheel /wheels /wheels
RUN /opt/brainmvp/bin/pip install --no-deps /wheels/*.whl \
 && /opt/brainmvp/bin/pip uninstall --yes pip setuptools \
 && python3 -m compileall -q /opt/brainmvp/lib

FROM ${PYTHON_IMAGE} AS export-packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY locks/export.txt /locks/export.txt
RUN python3 -m venv /opt/brainmvp \
 && /opt/brainmvp/bin/pip install --require-hashes --only-binary :all: -r /locks/export.txt
COPY --from=wheel /wheels /wheels
RUN /opt/brainmvp/bin/pip install --no-deps /wheels/*.whl \
 && /opt/brainmvp/bin/pip uninstall --yes pip setuptools

# The CUDA image has no Python; its own Ubuntu's is taken.
FROM ${CUDA_IMAGE} AS gpu-base
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 \
 && rm -rf /var/lib/apt/lists/*

FROM gpu-base AS gpu-packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3-venv \
 && rm -rf /var/lib/apt/lists/*
ARG GPU_PACKAGES
COPY locks/${GPU_PACKAGES}.txt /locks/gpu.txt
RUN python3 -m venv /opt/brainmvp \
 && /opt/brainmvp/bin/pip install --require-hashes -r /locks/gpu.txt
COPY --from=wheel /wheels /wheels
RUN /opt/brainmvp/bin/pip install --no-deps /wheels/*.whl \
 && /opt/brainmvp/bin/pip uninstall --yes pip setuptools \
 && python3 -m compileall -q /opt/brainmvp/lib

# What each image is made of: /usr/share/brainmvp/sbom.cdx.json and licences.txt.
FROM cpu-packages AS cpu-sbom
COPY locks/sbom.txt /locks/sbom.txt
RUN python3 -m venv /sbom && /sbom/bin/pip install --require-hashes -r /locks/sbom.txt
COPY containers /containers
RUN /sbom/bin/python /containers/sbom.py --image cpu --packages /opt/brainmvp \
      --lock /locks/cpu.txt --system / --out /usr/share/brainmvp

FROM export-packages AS export-sbom
COPY locks/sbom.txt /locks/sbom.txt
RUN python3 -m venv /sbom && /sbom/bin/pip install --require-hashes -r /locks/sbom.txt
COPY containers /containers
RUN /sbom/bin/python /containers/sbom.py --image export --packages /opt/brainmvp \
      --lock /locks/export.txt --system / --out /usr/share/brainmvp

# The system's packages are those of gpu-base, without what the stage of the packages added.
FROM gpu-packages AS gpu-sbom
COPY locks/sbom.txt /locks/sbom.txt
RUN python3 -m venv /sbom && /sbom/bin/pip install --require-hashes -r /locks/sbom.txt
COPY containers /containers
COPY --from=gpu-base /var/lib/dpkg/status /system/var/lib/dpkg/status
COPY --from=gpu-base /usr/share/doc /system/usr/share/doc
COPY --from=gpu-base /usr/lib/os-release /system/usr/lib/os-release
ARG GPU_PACKAGES
RUN /sbom/bin/python /containers/sbom.py --image "${GPU_PACKAGES}" --packages /opt/brainmvp \
      --lock /locks/gpu.txt --system /system --out /usr/share/brainmvp

FROM ${PYTHON_IMAGE} AS export
LABEL org.opencontainers.image.title="BrainMVP Server, export" \
      org.opencontainers.image.description="Turns finetuned BrainMVP checkpoints into bundles" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=export-packages /opt/brainmvp /opt/brainmvp
COPY --from=export-sbom /usr/share/brainmvp /usr/share/brainmvp
ENV PATH=/opt/brainmvp/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /work
ENTRYPOINT ["brainmvp"]
CMD ["export", "--help"]

FROM gpu-base AS gpu
LABEL org.opencontainers.image.title="BrainMVP Server, GPU" \
      org.opencontainers.image.description="Serves BrainMVP brain-MRI models over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=gpu-packages /opt/brainmvp /opt/brainmvp
COPY --from=gpu-sbom /usr/share/brainmvp /usr/share/brainmvp
ENV PATH=/opt/brainmvp/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    BRAINMVP_HOST=0.0.0.0 BRAINMVP_MODELS=/models BRAINMVP_LOG_FORMAT=json
USER 65532:65532
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
  CMD ["python3", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('BRAINMVP_PORT', '8000') + '/health/live', timeout=4)"]
ENTRYPOINT ["brainmvp"]
CMD ["serve"]

# The last target is what a build without --target makes.
FROM ${PYTHON_IMAGE} AS cpu
LABEL org.opencontainers.image.title="BrainMVP Server, CPU" \
      org.opencontainers.image.description="Serves BrainMVP brain-MRI models over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=cpu-packages /opt/brainmvp /opt/brainmvp
COPY --from=cpu-sbom /usr/share/brainmvp /usr/share/brainmvp
ENV PATH=/opt/brainmvp/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    BRAINMVP_HOST=0.0.0.0 BRAINMVP_MODELS=/models BRAINMVP_LOG_FORMAT=json
USER 65532:65532
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["python3", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('BRAINMVP_PORT', '8000') + '/health/live', timeout=4)"]
ENTRYPOINT ["brainmvp"]
CMD ["serve"]
