# The environment of `make setup`, with JupyterLab. Without a GPU:
#
#   docker build -t nlp-notebooks .
#   docker run --rm -p 8888:8888 -v "$PWD/outputs:/project/outputs" nlp-notebooks
#
# and headless: docker run --rm nlp-notebooks make run
FROM python:3.11-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends git make \
 && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home reader && install -d -o reader /project
USER reader
WORKDIR /project
COPY --chown=reader . .
RUN make setup
EXPOSE 8888
CMD ["make", "lab", "LAB_ARGS=--ip=0.0.0.0 --no-browser"]
