"""The home page: the lessons with a student's progress, served by the Jupyter server itself."""

from graders.lab.home.extension import (
    _jupyter_server_extension_points,
    _load_jupyter_server_extension,
)

__all__ = ["_jupyter_server_extension_points", "_load_jupyter_server_extension"]
