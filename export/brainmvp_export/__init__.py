"""From a checkpoint to a bundle: rewrite, export, prove equal, write."""

import brainmvp_server.inference.engines  # noqa: F401  (keeps OpenVINO's tools silent)
