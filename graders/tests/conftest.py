"""Settings for every test."""

import jax
from hypothesis import HealthCheck, settings

jax.config.update("jax_num_cpu_devices", 8)  # as lesson 07 has them

# The same examples on every machine, and no limit on the time of one: JAX compiles at the first.
settings.register_profile(
    "graders",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("graders")
