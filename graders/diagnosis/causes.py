"""What exceptions in a student's code usually mean: by their type, and by what JAX says."""

from __future__ import annotations

from graders.card.failure import Cause

BY_TYPE = {
    "TracerBoolConversionError": Cause(
        "a Python `if` or `while` looks at a traced value: while JAX traces a function its "
        "arguments have a shape and a dtype, but no value to decide by",
        "Choose with `jnp.where` or `jax.lax.cond`, repeat with `jax.lax.while_loop`, or decide by "
        "shapes.",
    ),
    "TracerArrayConversionError": Cause(
        "a NumPy function was given a traced array: `np` needs the numbers, which are not there "
        "while JAX traces",
        "Use the function of the same name from `jnp`.",
    ),
    "NonConcreteBooleanIndexError": Cause(
        "a boolean mask selects an unknown number of elements: the shape of the result would "
        "depend on values, and under tracing shapes are fixed",
        "Keep the shape: use the mask in `jnp.where(mask, x, 0)`, and divide by `mask.sum()` "
        "for a mean.",
    ),
    "TracerIntegerConversionError": Cause(
        "a traced value is used as a Python integer: it needs a concrete value while it is traced",
        "Index JAX arrays with it (`x[i]` of a `jnp` array), or take the number from a shape.",
    ),
    "ConcretizationTypeError": Cause(
        "a value was asked for that needs a concrete value while it is traced: `int(...)`, "
        "`float(...)`, `.item()`, or a size that depends on data",
        "Stay with arrays from beginning to end, and take sizes from `x.shape`.",
    ),
    "UnexpectedTracerError": Cause(
        "a tracer escaped from the function that made it: something kept an intermediate value",
        "Return the value instead of storing it in a global, a list or an attribute.",
    ),
    "KeyReuseError": Cause(
        "a random key was used twice",
        "Split the key, and use each part once.",
    ),
    "RecursionError": Cause(
        "the function calls itself without end",
        "Look for the call that leads back to the function: give the recursion an end, or use a "
        "loop. An inner function or a lambda looks its names up when it is called, so "
        "`g = lambda x: f(g(x))` calls itself.",
    ),
    "SystemExit": Cause(
        "the answer stops the whole program: it calls `exit` or `sys.exit`",
        "Return a value instead.",
    ),
    "OutputLimit": Cause(
        "it prints without end",
        "Look for a `print` in a loop that does not end.",
    ),
    "TooLarge": Cause(
        "the result is larger than a check reads",
        "Compare its shape, or the number of values in it, with what the exercise asks for.",
    ),
}
"""By the name of the exception's class, or of one of its bases."""

BY_LIMIT = {
    "ProcessEnded": Cause(
        "the answer ended the process that it ran in",
        "Remove calls such as `os._exit`, and memory use without bound.",
    ),
    "MemoryLimit": Cause(
        "the answer used up the memory that it may have, or its process was killed",
        "Look for an array or a list that grows without end; JAX keeps every intermediate value "
        "that a derivative needs.",
    ),
    "Garbled": Cause(
        "the process of the answer has sent something that cannot be read",
        "Remove what writes to other files or pipes of the process; return values instead.",
    ),
    "TimeLimit": Cause(
        "the answer ran past its time limit",
        "Look for a loop that does not end.",
    ),
}
"""By the type of what the seam reports: an exception of a student's may have the same name."""

BY_MESSAGE = {
    "slice of traced size": Cause(
        "a slice whose ends depend on values: under tracing shapes are fixed, and so are "
        "slices (`jax.jit(f)(...)` shows the error)",
        "Keep the whole array and choose with a mask: `jnp.arange(n) < length`.",
    ),
    "truth of an array": Cause(
        "a Python `if`, `while`, `and` or `or` asks a whole array whether it is true",
        "Choose element by element with `jnp.where`; join conditions with `&` and `|`; or "
        "reduce with `jnp.all` or `jnp.any`.",
    ),
    "assignment to an array": Cause(
        "JAX arrays cannot be changed in place",
        "Make a new array: `x = x.at[index].set(value)`, or `.add(value)`.",
    ),
    "assignment to a constant": Cause(
        "a value that cannot be changed in place, such as a tuple or a number, is assigned to by "
        "index",
        "Make a new value; of a JAX array with `x = x.at[index].set(value)`.",
    ),
    "gradient of no scalar": Cause(
        "this asks for the gradient of a function that does not return a scalar",
        "Reduce the result to one number (`.sum()` or `.mean()`), or ask for a Jacobian.",
    ),
    "derivative by integers": Cause(
        "this asks for the gradient by integers, which have no derivative",
        "Differentiate by a float argument: look at `argnums`, and at the dtype of the input.",
    ),
    "forward mode of custom_vjp": Cause(
        "forward mode (`jax.jvp`, `jax.jacfwd`) goes through a custom_vjp, which has none",
        "Use reverse mode (`jax.grad`, `jax.vjp`, `jax.jacrev`), or write a custom_jvp.",
    ),
    "reverse mode of a while loop": Cause(
        "a loop without a fixed length cannot be differentiated in reverse",
        "Use `jax.lax.scan`, or `fori_loop` with bounds that are Python numbers.",
    ),
    "traced shape": Cause(
        "a shape is made from a traced value: a size needs a concrete value while it is traced",
        "Take sizes from `x.shape`, or make the argument static.",
    ),
    "cotangent": Cause(
        "the pullback of `jax.vjp` is given a cotangent of another shape or dtype than the "
        "value has",
        "Look at what the function returns: the cotangent is of the same shape and dtype.",
    ),
    "static argument": Cause(
        "a static argument is an array or a list, or is traced: JAX compiles once for each value "
        "of it, and must be able to hash it",
        "Make only numbers, strings, tuples and functions static; pass arrays as usual.",
    ),
    "donated": Cause(
        "an array is used after it was donated: its memory already holds a result",
        "Use the result instead (`x = step(x)`), or leave `donate_argnums` out.",
    ),
    "custom_vjp": Cause(
        "a custom_vjp is not put together as JAX expects",
        "The forward rule returns `(output, residuals)`, the backward rule takes "
        "`(residuals, cotangent)` and returns one value for each argument, as a tuple.",
    ),
    "product of unequal shapes": Cause(
        "a matrix product of shapes that do not fit",
        "Write the two shapes side by side: the inner sizes must agree.",
    ),
    "unequal shapes": Cause(
        "two shapes that do not broadcast against each other",
        "Align the shapes from the right: each pair of sizes must be equal, or one of them 1; "
        "insert axes with `x[:, None]`.",
    ),
    "returned no array": Cause(
        "a function that JAX traces returns something that is not an array",
        "Return arrays, or dicts, lists and tuples of arrays.",
    ),
    "no array": Cause(
        "a JAX function was given something that is not an array",
        "Pass arrays (or pytrees of arrays); register a class of your own as a pytree.",
    ),
    "keys of a dict": Cause(
        "two dicts that must have the same keys have different ones",
        "Print the keys of both. `jax.tree.map` needs the same keys at every level.",
    ),
    "pytree metadata": Cause(
        "two pytrees of one class differ in their metadata, which their `tree_flatten` returns "
        "beside the children",
        "Let equal trees have equal metadata: strings, numbers and tuples of them compare by "
        "value. A lambda or a `functools.partial` that is made anew equals no other.",
    ),
    "pytree structure": Cause(
        "two pytrees that must have the same structure differ: in the type of a container, or in "
        "the number of its children",
        "Print `jax.tree.structure(tree)` of both. A tuple and a list are different, and None has "
        "no children.",
    ),
    "not callable": Cause(
        "something is called that is not a function",
        "Look at what each name holds: a value may have taken the name of a function.",
    ),
    "traced parameter": Cause(
        "a size or another static parameter is made from a traced value: under tracing shapes "
        "are fixed",
        "Take the number from a shape or a Python argument, or use what accepts a traced "
        "number, such as `jax.random.fold_in`.",
    ),
    "carry": Cause(
        "the carry changes its type from one step of the loop to the next: what the body "
        "returns as carry must have the structure, shapes and dtypes of the carry it was given",
        "Compare the initial carry with what the body returns: a Python number or an integer "
        "at the start, a float afterwards?",
    ),
    "pair of a scan": Cause(
        "the body of the scan does not return a pair",
        "Return `(carry, y)`; where nothing is collected, `(carry, None)`.",
    ),
    "condition of a while loop": Cause(
        "the condition of the while loop is not a boolean scalar",
        "Compare: `return carry > 0`; reduce an array with `jnp.all` or `jnp.any`.",
    ),
    "array of conditions": Cause(
        "`lax.cond` was given an array of conditions: it takes one branch for the whole call",
        "Reduce the condition to one boolean, or choose element by element with `jnp.where`.",
    ),
    "structures of branches": Cause(
        "the branches return different structures: which one runs is not known while JAX "
        "traces, so all must return the same",
        "Return the same containers with the same shapes and dtypes from each branch.",
    ),
    "types of branches": Cause(
        "the branches return different shapes or dtypes: which one runs is not known while "
        "JAX traces, so all must return the same",
        "Give each branch's result the same shape and dtype: `jnp.zeros_like(x)` for 0.",
    ),
    "index of a switch": Cause(
        "`lax.switch` was given an index that is not an integer",
        "Cast the index: `index.astype(int)`.",
    ),
    "axis name": Cause(
        "a collective names an axis that no `vmap` or `shard_map` around it has",
        "Give the axis its name: `jax.vmap(f, axis_name=...)`, or the mesh axis of the "
        "`shard_map` that it runs in.",
    ),
    "sizes under vmap": Cause(
        "the mapped axes have different sizes: each argument must have as many examples",
        "Map only what belongs to an example; an argument that all share has `None` in `in_axes`.",
    ),
    "axis of vmap": Cause(
        "`vmap` was told to map an axis that the argument does not have",
        "Look at `in_axes` beside the shapes: `None` for what all examples share.",
    ),
    "in_axes": Cause(
        "`in_axes` does not fit the arguments",
        "Give one entry for each positional argument, in a tuple: an axis, or None.",
    ),
    "nothing mapped": Cause(
        "`vmap` maps nothing: every entry of `in_axes` is None",
        "Give the argument that holds the batch its axis.",
    ),
    "unequal parts": Cause(
        "an array cannot be cut into equal parts for the devices",
        "Its size along the split axis must be a multiple of the number of devices: look at "
        "`in_specs`.",
    ),
    "not replicated": Cause(
        "`out_specs` says that every device returns the same, and the function does not see "
        "to it: each device returns what it computed from its own part",
        "Bring the parts together inside (`psum`, `pmean`), or say in `out_specs` that the "
        "result is split.",
    ),
    "axis of out_specs": Cause(
        "`out_specs` splits an axis that the result of one device does not have",
        "Keep the axis (`keepdims=True`, or `[None]`), or add the parts up and use `P()`.",
    ),
    "specs of the input": Cause(
        "on a mesh with explicit axes `in_specs` must be the sharding that the argument has",
        "Place the argument first, with `jax.reshard` or `jax.device_put`, or leave `in_specs` "
        "out.",
    ),
    "ambiguous sharding": Cause(
        "an operation on a mesh with explicit axes does not say how its result is split",
        "Say it: `jnp.dot(a, b, out_sharding=P(...))`, or `jax.reshard` an operand before it.",
    ),
    "two shardings": Cause(
        "two arrays that are split in different ways meet in one operation",
        "Bring one to the sharding of the other with `jax.reshard`.",
    ),
    "axis of a sharding": Cause(
        "an array is to be cut along an axis that it does not have",
        "A scalar has no axis, and stays whole: `P()`. Elsewhere the spec may have no more "
        "entries than the array has axes.",
    ),
    "sharding of an index": Cause(
        "an operation on a mesh with explicit axes does not say how its result is split: the "
        "index and what is indexed leave it open",
        "Say it: `table.at[index].get(out_sharding=...)`, with a `NamedSharding`.",
    ),
    "spec without a mesh": Cause(
        "a `PartitionSpec` alone does not say which mesh is meant",
        "Give a `NamedSharding(mesh, P(...))`, or work inside `with jax.set_mesh(mesh):`.",
    ),
    "two sets of devices": Cause(
        "arrays on different sets of devices meet in one operation",
        "Place both on the mesh: `jax.device_put(x, NamedSharding(mesh, P()))`.",
    ),
    "axis of the mesh": Cause(
        "a `PartitionSpec` names an axis that the mesh does not have",
        "Use the names that `mesh.axis_names` shows.",
    ),
    "key as a number": Cause(
        "a key is used as a number",
        "A key is handed to `jax.random`: draw with it, `split` it or `fold_in` a number.",
    ),
    "no key": Cause(
        "a random function was not given a key as its first argument",
        "Hand it the key first: `jax.random.normal(key, shape)`.",
    ),
    "key for its words": Cause(
        "`jax.random.wrap_key_data` was given keys, where it takes the uint32 words of keys",
        "A typed key needs no wrapping. Look at the dtype first: "
        "`jnp.issubdtype(x.dtype, jax.dtypes.prng_key)`.",
    ),
    "seed for a key": Cause(
        "a random function was given a number where it wants a key",
        "Make a key of the number with `jax.random.key(...)`, or hand on the key you have.",
    ),
    "several keys": Cause(
        "a random function was given several keys at once",
        "Take one of them (`keys[0]`), or unpack: `key, subkey = jax.random.split(key)`.",
    ),
}
"""By the message's name in `graders.values.jax_messages`; the first that fits is meant."""
