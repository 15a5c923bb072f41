"""What stands where the calls of jobs are, in a service that keeps none."""

from __future__ import annotations

from fastapi import APIRouter

from brainmvp_server.api.problems import NoJobs

_METHODS = ["GET", "POST", "DELETE"]


def build_no_jobs_router() -> APIRouter:
    """Routes that say why there are no jobs; the OpenAPI document does not offer them."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/v1/models/{name}/jobs", methods=_METHODS)
    @router.api_route("/v1/jobs", methods=_METHODS)
    @router.api_route("/v1/jobs/{rest:path}", methods=_METHODS)
    async def refuse() -> None:
        raise NoJobs(
            "this service was started without a place for jobs",
            remedy="Start it with --jobs-storage DIR, or ask for the result at once with "
            "/v1/models/NAME/predict",
        )

    return router
