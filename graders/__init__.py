"""Checks that judge JAX semantics: the map of what a lesson may use."""

from graders import jax_version as jax_version  # the first: it refuses a JAX that is too old
from graders.cases import integers as integers
from graders.cases import normal as normal
from graders.cases import sweep as sweep
from graders.cases import uniform as uniform
from graders.checks.answer import check_answer as check_answer
from graders.checks.batching import check_batched as check_batched
from graders.checks.distribution import check_distribution as check_distribution
from graders.checks.donation import check_donates as check_donates
from graders.checks.gradients import check_gradients as check_gradients
from graders.checks.keys import check_keys as check_keys
from graders.checks.placement import check_collectives as check_collectives
from graders.checks.placement import check_sharding as check_sharding
from graders.checks.primitives import check_primitives as check_primitives
from graders.checks.purity import check_pure as check_pure
from graders.checks.shape import check_dtype as check_dtype
from graders.checks.shape import check_shape as check_shape
from graders.checks.traces import check_traces as check_traces
from graders.checks.training import check_training as check_training
from graders.checks.values import check_values as check_values
from graders.data import load_mnist as load_mnist
from graders.devices import lesson_devices as lesson_devices
from graders.failure import CheckFailed as CheckFailed
from graders.notebook import connect_if_running
from graders.oracles import numerical_gradient as numerical_gradient
from graders.standings import progress as progress
from graders.subject import result_of as result_of
from graders.subject import subject as subject
from graders.subject import through as through

connect_if_running()
