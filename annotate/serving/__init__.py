"""The processes of `serve`: a supervisor, web processes, and the worker of background tasks."""
