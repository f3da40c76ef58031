"""JupyterLab for students: server, home page, copy of the lessons, handing in, health check."""
