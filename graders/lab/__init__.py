"""JupyterLab for students: the server, the home page, their copy of the lessons, handing in, the health check."""
