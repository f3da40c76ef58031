# JupyterLab on the course:
#   docker build --tag jax-course .
#   docker run --publish 8888:8888 --volume jax-course:/home/student/jax-course/work jax-course
# then open the address it prints. On NVIDIA GPUs: build with --build-arg ACCELERATOR=cuda12, run
# with --gpus all.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

ARG ACCELERATOR=""
WORKDIR /home/student/jax-course
COPY requirements.lock .
RUN pip install --no-cache-dir --requirement requirements.lock \
    && if [ -n "$ACCELERATOR" ]; then \
        pip install --no-cache-dir --constraint requirements.lock "jax[$ACCELERATOR]"; \
    fi
COPY . .
RUN pip install --no-cache-dir --no-deps --editable . \
    && useradd --create-home student \
    && mkdir -p work build \
    && chown -R student:student /home/student
USER student

EXPOSE 8888
CMD ["jax-course", "lab", "--no-browser", "--ip=0.0.0.0", "--port=8888"]
