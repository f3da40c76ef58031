"""`python -m graders` is `jax-course`."""

import sys

from graders.cli import main

sys.exit(main())
