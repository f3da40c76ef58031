"""nbgrader's side: plug-ins, its steps run from Python, the exporter of feedback pages."""
