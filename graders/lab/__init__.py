"""JupyterLab for students: the server, their copy of the lessons, handing in, the health check."""
