"""The same service as a Ray Serve deployment, on one machine or many.

serve run nlp_helpers.serving.cluster:build checkpoint=FOLDER replicas=2
"""

from typing import Any

from pydantic import Field, field_validator
from ray import serve
from ray.serve import Application

from nlp_helpers import session
from nlp_helpers.core import paths
from nlp_helpers.serving.app import build_app
from nlp_helpers.serving.settings import Settings

MAX_ONGOING = 1024  # requests of a replica at a time; its queue limits texts
HEALTH_SECONDS = 2  # between two questions whether a replica lives


class ClusterSettings(Settings):
    """What `serve run` takes as NAME=VALUE."""

    replicas: int = Field(default=1, ge=1, description="Copies.")
    cpus: float = Field(default=1, gt=0, description="Of each copy.")
    gpus: float = Field(default=0, ge=0, description="Of each copy.")

    @field_validator("preload", mode="before")
    @classmethod
    def _split(cls, names: object) -> object:
        """Take several tasks as one text, with commas."""
        return tuple(names.split(",")) if isinstance(names, str) else names


def build(settings: ClusterSettings) -> Application:
    """Return the application that Ray Serve is to run.

    Every machine needs the package, and the checkpoint at the same place.
    """
    own = Settings(**settings.model_dump(include={*Settings.model_fields}))
    if own.checkpoint:  # replicas run in a folder of their own
        folder = str(paths.resolve(own.checkpoint))
        own = own.model_copy(update={"checkpoint": folder})

    def start() -> object:
        """Make the application of one replica, in its process."""
        session.silence_libraries()
        session.limit_threads()
        return build_app(own)

    deployment: Any = serve.deployment(
        serve.ingress(start)(),
        name="nlp-helpers",
        num_replicas=settings.replicas,
        max_ongoing_requests=MAX_ONGOING,
        ray_actor_options={
            "num_cpus": settings.cpus,
            "num_gpus": settings.gpus,
        },
        health_check_period_s=HEALTH_SECONDS,
    )
    return deployment.bind()
