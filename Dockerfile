# JupyterLab on the course: see the README for the commands, `make image` for the proof.
# The tag names Python's patch release and Debian's name. Where it must not move at all:
#   docker build --build-arg BASE=python@sha256:...
ARG BASE=python:3.12.12-slim-bookworm
FROM ${BASE}

# What JAX computes on: cpu, cuda (NVIDIA GPUs) or tpu.
ARG ACCELERATOR=cpu

# A JupyterHub on Kubernetes starts its users' images as 1000.
RUN useradd --uid 1000 --create-home student \
    && install --directory --owner=student --group=student \
        /home/student/jax-course /home/student/jax-course/build /home/student/jax-course/work
WORKDIR /home/student/jax-course

# Before the course itself: this layer, nearly all of the image, stays when a lesson changes.
COPY pyproject.toml requirements.lock ./
RUN case "$ACCELERATOR" in \
        cpu | cuda | tpu) ;; \
        *) echo "ACCELERATOR is cpu, cuda or tpu, not '$ACCELERATOR'." >&2; exit 1 ;; \
    esac \
    && pip install --no-cache-dir --constraint requirements.lock uv \
    && uv pip install --system --no-cache --compile-bytecode --constraint requirements.lock \
        --requirement pyproject.toml --extra grade --extra hub --extra lab --extra lessons \
        "jax[$ACCELERATOR]" \
    && pip uninstall --yes uv

COPY --chown=student:student . .
RUN pip install --no-cache-dir --no-deps --editable .
# The number of `student`: a cluster that forbids root cannot look a name up.
USER 1000

EXPOSE 8888
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["python", "graders/lab/health.py"]
CMD ["jax-course", "lab", "--no-browser", "--ip=0.0.0.0", "--port=8888"]
