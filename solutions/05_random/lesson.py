# %% [markdown]
# # 5 · Random numbers: keys, split and fold_in
#
# In JAX a random number is a function of a *key*, and you pass the key as an argument. This makes experiments reproducible, on any machine and under any transformation, and costs some bookkeeping. After this lesson you can
#
# - give every layer, step, epoch and ensemble member its own key;
# - find and fix the reuse of a key;
# - write a sampler, and test its whole distribution;
# - use keys in `jit`, in `scan` and in dropout;
# - read old code with legacy keys.
#
# A reused key raises no error, and makes two results depend on each other that should not.
#
# About 120 minutes, with reading and waiting. There is a good place for a break after 5.4. You need lessons 01 to 04.

# %%
import zlib
from functools import partial
from inspect import unwrap
from itertools import pairwise, permutations

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, Float, Int, Key
from scipy.stats import binom, expon, laplace, norm, uniform

from graders import (
    check_answer,
    check_distribution,
    check_keys,
    check_primitives,
    check_pure,
    check_shape,
    check_values,
    normal,
    sweep,
    through,
)

key = jax.random.key(0)

# %% [markdown]
# ## 5.0 Recall
#
# Three questions about earlier lessons, one point each. Answer before you run anything.
#
# **Recall** · 1 minute · difficulty 2 of 5
#
# `step = lambda total, x: (total + x, total + x)`. What is `jax.lax.scan(step, 0, jnp.array([1, 2, 3, 4]), reverse=True)[1]`?

# %% exercise="running_totals" kind="recall"
# A tuple of integers.
### BEGIN SOLUTION
running_totals = (10, 9, 7, 4)
### END SOLUTION

# %% check="running_totals" points=1
def totals_from_the_end():
    def step(total, x):
        return total + x, total + x

    return jax.lax.scan(step, 0, jnp.array([1, 2, 3, 4]), reverse=True)[1]


check_answer(
    running_totals,
    totals_from_the_end,
    because="The scan runs from the last row to the first, and stores each output at the place of "
    "its row.",
    mistakes={
        (4, 7, 9, 10): "that is the order of computation; each output is stored at its row's place",
        (1, 3, 6, 10): "`reverse=True` starts with the last row",
        10: "that is the final carry; [1] is the stacked outputs",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# `scale = 2.0`, `f = jax.jit(lambda x: scale * x)`. You call `f(1.0)`, then set `scale = 5.0`, then call `f(jnp.ones(3))`. What is the first element of the result?

# %% exercise="stale_scale" kind="recall"
# A number.
### BEGIN SOLUTION
stale_scale = 5.0
### END SOLUTION

# %% check="stale_scale" points=1
def called_twice():
    cell = {"scale": 2.0}
    f = jax.jit(lambda x: cell["scale"] * x)
    f(1.0)
    cell["scale"] = 5.0
    return f(jnp.ones(3))[0]


check_answer(
    stale_scale,
    called_twice,
    because="A new shape is traced again, and the trace reads the global as it is now. `f(1.0)` "
    "would still return 2.0.",
    mistakes={2.0: "the program of `f(1.0)` holds 2.0, but a new shape is traced again"},
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# `structure = jax.tree.structure({"w": 0, "b": 0, "a": 0})` and `params = jax.tree.unflatten(structure, [1, 2, 3])`. What are `params["w"]`, `params["b"]` and `params["a"]`?

# %% exercise="leaf_order" kind="recall"
# A tuple of integers.
### BEGIN SOLUTION
leaf_order = (3, 2, 1)
### END SOLUTION

# %% check="leaf_order" points=1
def filled_in():
    structure = jax.tree.structure({"w": 0, "b": 0, "a": 0})
    params = jax.tree.unflatten(structure, [1, 2, 3])
    return params["w"], params["b"], params["a"]


check_answer(
    leaf_order,
    filled_in,
    because="The leaves of a dict are ordered by its sorted keys: a, b, w. This matters in 5.8.",
    mistakes={(1, 2, 3): "the order is that of the sorted keys, not of insertion"},
)

# %% [markdown]
# ## 5.1 Keys: random numbers without hidden state
#
# NumPy's generator has a state, which each draw changes. A pure function has no state. `jax.random.normal(key, shape)` takes everything that it needs as arguments.
#
# **Prediction** · 2 minutes · difficulty 4 of 5
#
# With the default generator, `a = jax.random.normal(key, (3,))` and then `b = jax.random.normal(key, (5,))`. Among these eight numbers, how many different ones are there?

# %% exercise="different_numbers" kind="prediction"
# An integer.
### BEGIN SOLUTION
different_numbers = 5
### END SOLUTION

# %% check="different_numbers" points=1
def count_different():
    key = jax.random.key(0)
    a, b = jax.random.normal(key, (3,)), jax.random.normal(key, (5,))
    return len(set(a.tolist() + b.tolist()))


check_answer(
    different_numbers,
    count_different,
    because="Number i depends on the key and on i only, so `a` is the beginning of `b`.",
    mistakes={
        8: "there is no state between the two calls: the same key gives the same numbers",
        1: "one key gives an array of different numbers",
        3: "`b` has the three numbers of `a`, and two more",
    },
)

# %% tags=["demonstration"]
print(jax.random.normal(key, (3,)))
print(jax.random.normal(key, (5,)))
print(jax.jit(lambda key: jax.random.normal(key, (5,)))(key))
print(repr(key), key.shape, key.dtype)

# %% [markdown]
# A key is an array with its own dtype. In memory it is two `uint32` words. A draw hashes these words together with the index of each number. There is no sequence and no state, so the default generator gives the same random bits under `jit`, inside a `scan`, under `vmap` (lesson 06), on a CPU and on a TPU, on one device or eight. (Values computed from the bits, such as logarithms, may differ in the last digit between kinds of hardware.)
#
# The printed dtype `key<fry>` names that generator, Threefry. TPU code sometimes uses `jax.random.key(0, impl="rbg")`, which is faster there, and whose draws under `vmap` differ from single ones. Do not rely on `a` being the beginning of `b` either, which is a detail of the default generator.
#
# The same key and shape always give the same numbers. Hence the one rule of this lesson: **use each key once.** To *use* a key is to draw with it or to split it.
#
# > **In NumPy and PyTorch** `np.random.seed(0)` and `torch.manual_seed(0)` set a global state, and the order of calls decides who gets which numbers. In JAX only the key decides.
#
# ## 5.2 New keys: split and fold_in
#
# `jax.random.split(key, n)` returns an array of `n` keys. `jax.random.fold_in(key, i)` returns one key for the integer `i`, which must be from 0 to $2^{32} - 1$. Both are pure, so `key` does not change. After a split do not use it again. After a `fold_in` you may fold in other integers. The next cells draw a tree of keys. You need not read them.

# %% tags=["demonstration"]
def words(key):
    return "{:08x}\n{:08x}".format(*np.asarray(jax.random.key_data(key)).tolist())


def draw_tree(key, left, right, depth=0):
    half, last = (right - left) / 2, depth == 2
    box = {"facecolor": "none", "edgecolor": "C0" if last else "grey"}
    style = {"ha": "center", "va": "center", "fontsize": 11}
    plt.text(left + half, -depth, words(key), bbox=box, family="monospace", **style)
    if last:
        use = ("init", "dropout", "shuffle", "noise")[int(left)]
        return plt.text(left + half, -depth - 0.4, use, color="C0", **style)
    for start, child in zip((left, left + half), jax.random.split(key)):
        line = [left + half, start + half / 2], [-depth - 0.2, -depth - 0.8]
        plt.plot(*line, color="grey")
        draw_tree(child, start, start + half, depth + 1)

# %% tags=["demonstration"]
plt.figure("A tree of split keys", figsize=(8, 4))
draw_tree(key, 0, 4)
plt.xlim(0, 4), plt.ylim(-2.6, 0.3), plt.axis("off")
plt.show()

# %% [markdown]
# *A tree of keys, each written as its two words. The root, `jax.random.key(0)`, is split into two keys, and each of these into two more. The four leaves (blue) are used for init, dropout, shuffle and noise. The three keys above them are used up by splitting.*
#
# **Prediction** · 2 minutes · difficulty 4 of 5
#
# With the default generator, is `jax.random.fold_in(key, 1)` the same key as `jax.random.split(key, 3)[1]`?

# %% exercise="fold_is_split" kind="prediction"
# A boolean.
### BEGIN SOLUTION
fold_is_split = True
### END SOLUTION

# %% check="fold_is_split" points=1
def fold_against_split():
    key = jax.random.key(0)
    return bool(jax.random.fold_in(key, 1) == jax.random.split(key, 3)[1])


check_answer(
    fold_is_split,
    fold_against_split,
    because="Both hash the key with the number 1, in today's default generator.",
    mistakes={False: "both hash the key with the number 1, so they return the same key"},
)

# %% [markdown]
# New keys look unrelated, but they are determined by their parent, and two ways of deriving them can give the same key. This too is a detail of today's default generator. With one key, therefore, *either* split *or* fold in distinct integers, and do not draw with it.
#
# From here on the network of this course is a list of layers of any length.
#
# ### Initialise an MLP
# **Exercise** · 7 minutes · difficulty 2 of 5
#
# `init_mlp(key, sizes)` **returns** a list with one dict `{"w", "b"}` for each pair of neighbouring sizes. `w` has the shape (inputs, outputs) and independent normal entries with mean 0 and *variance* 2 / inputs (He initialisation). `b` is zero, of shape (outputs,). The function is pure: `jax.jit` can trace it for any key, with static `sizes`.
#
# **Edge cases**: any number of layers, also of equal sizes. Layers are independent of each other.
#
# **The check** looks at shapes, at the distribution of `w` down to its last digits, at the biases, for reused keys, and at purity.

# %% exercise="init_mlp"
def init_mlp(key: Key[Array, ""], sizes: tuple[int, ...]) -> list[dict[str, Array]]:
    """Normal weights and zero biases for an MLP with `sizes` units, from inputs to outputs."""
    ### BEGIN SOLUTION
    keys = jax.random.split(key, len(sizes) - 1)
    params = []
    for layer_key, n_in, n_out in zip(keys, sizes, sizes[1:]):
        w = jnp.sqrt(2 / n_in) * jax.random.normal(layer_key, (n_in, n_out))
        params.append({"b": jnp.zeros(n_out), "w": w})
    return params
    ### END SOLUTION

# %% [markdown] hints="init_mlp"
# <details><summary>Hint 1: the idea</summary>
#
# There are `len(sizes) - 1` layers, and each needs a key. Make them all in one split, before the loop.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# You can iterate over an array of keys, and use it in `zip`. `zip(sizes, sizes[1:])` gives the pairs. A standard normal number times $s$ has variance $s^2$.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# ```
# keys = jax.random.split(key, ...)
# for layer_key, n_in, n_out in zip(keys, ..., ...):
#     ...
# ```
# </details>

# %% check="init_mlp" points=3
def weights_of_layer(init, key, sizes, layer):
    return init(key, sizes)[layer]["w"]


def weights_of_all_layers(init, key, sizes):
    return jnp.stack([layer["w"] for layer in init(key, sizes)])


def biases(init, key, sizes):
    return [layer["b"] for layer in init(key, sizes)]


def last_digits_of_layer(init, key, sizes, layer):
    return weights_of_layer(init, key, sizes, layer) * 4096 % 1


check_shape(
    init_mlp,
    jax.random.key(611),
    (3, 32, 1),
    returns=[{"w": "3 32", "b": "32"}, {"w": "32 1", "b": "1"}],
)
check_keys(init_mlp, jax.random.key(612), (5, 5, 5, 5))
check_pure(init_mlp, jax.random.key(619), (3, 32, 1), static_argnums=(1,))
check_distribution(
    through(weights_of_layer, init_mlp),
    jax.random.key(613),
    (100, 300),
    0,
    cdf=norm(0, np.sqrt(2 / 100)).cdf,
    mistakes={
        "2 / inputs is used as the standard deviation, and is the variance": norm(0, 2 / 100).cdf,
        "the variance is 2 / outputs": norm(0, np.sqrt(2 / 300)).cdf,
        "the variance is 1 / inputs": norm(0, np.sqrt(1 / 100)).cdf,
        "the variance is 2 / (inputs + outputs), Glorot's": norm(0, np.sqrt(2 / 400)).cdf,
    },
)
check_values(
    through(biases, init_mlp),
    [[np.zeros(32), np.zeros(1)], [np.zeros(5), np.zeros(5), np.zeros(5)]],
    [(jax.random.key(614), (3, 32, 1)), (jax.random.key(615), (5, 5, 5, 5))],
)
### BEGIN HIDDEN TESTS
check_distribution(
    through(weights_of_layer, init_mlp),
    jax.random.key(616),
    (2, 100, 300),
    1,
    cdf=norm(0, np.sqrt(2 / 100)).cdf,
    mistakes={"every layer is scaled by the size of the first": norm(0, np.sqrt(2 / 2)).cdf},
    about="the second layer",
)
check_keys(init_mlp, jax.random.key(617), (4,) * 14, about="thirteen layers")
check_distribution(
    through(weights_of_all_layers, init_mlp),
    jax.random.key(620),
    (40,) * 14,
    cdf=norm(0, np.sqrt(2 / 40)).cdf,
    about="the weights of thirteen layers",
)
check_values(
    through(biases, init_mlp),
    [[np.zeros(4)] * 13],
    [(jax.random.key(621), (4,) * 14)],
    about="the biases of thirteen layers",
)
check_distribution(
    through(last_digits_of_layer, init_mlp),
    jax.random.key(618),
    (100, 300),
    0,
    cdf=uniform.cdf,
    about="the last digits of the numbers",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 5.3 Write and test a sampler
#
# `jax.random` has more than thirty distributions. For any other, use the inverse of its cumulative distribution function $F$: if $U$ is uniform on $[0, 1)$, then $F^{-1}(U)$ has the distribution $F$.
#
# How do you *test* a sampler? A right mean proves little. The Dvoretzky–Kiefer–Wolfowitz inequality bounds the whole distribution: draw $n$ numbers, and let $F_n(x)$ be the fraction that is at most $x$. Then, for any distribution,
#
# $$P\left(\max_x |F_n(x) - F(x)| > \varepsilon\right) \le 2 e^{-2 n \varepsilon^2}.$$
#
# Choose a probability of a false alarm and solve for $\varepsilon$. The whole curve $F_n$ must lie in a band of $\pm \varepsilon$ around $F$. The checks below do this, with $10^{-7}$. The next cells test two samplers for the arcsine distribution, $F(x) = \frac{2}{\pi} \arcsin \sqrt{x}$, which have the same mean:

# %% tags=["demonstration"]
n = 2000
band = np.sqrt(np.log(2 / 1e-7) / (2 * n))
u = jax.random.uniform(jax.random.key(1), (n,))
attempts = {"sin(πu/2)²": jnp.sin(jnp.pi * u / 2) ** 2, "u itself": u}

# %% tags=["demonstration"]
line = np.linspace(0, 1, 400)
density = 1 / (np.pi * np.sqrt(line[2:-2] * (1 - line[2:-2])))
true = 2 / np.pi * np.arcsin(np.sqrt(line))
figure, (left, right) = plt.subplots(
    1, 2, num="Histogram and cumulative fractions of two samplers",
    figsize=(9, 4),
)
left.plot(line[2:-2], density, color="gray", label="density of F")
right.fill_between(line, true - band, true + band, color="gray", alpha=0.3, label="F ± ε")
for (name, draws), colour in zip(attempts.items(), ("C0", "C1")):
    left.hist(np.asarray(draws), bins=30, density=True, alpha=0.4, color=colour, label=name)
    right.plot(np.sort(draws), np.arange(1, n + 1) / n, color=colour, label=name)
left.set(xlabel="x", ylabel="density", ylim=(0, 4))
left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))
right.set(xlabel="x", ylabel="fraction at most x")
right.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))
plt.show()

# %% [markdown]
# *Left: two histograms of 2,000 draws. The blue one is high at both ends and follows the density. The orange one is flat. Right: the same draws as cumulative fractions. The blue curve stays in the grey band, which is F ± 0.06. The orange curve leaves it twice, by about 0.04. Both have mean 1/2.*
#
# ### Sample waiting times
# **Exercise** · 9 minutes · difficulty 3 of 5
#
# If events happen `rate` times a second on average, independently of each other, the times between them have $F(t) = 1 - e^{-\text{rate} \cdot t}$.
#
# `waiting_times(key, shape, rate)` **returns** an array of independent waiting times.
#
# **Edge cases**: every number is finite and not negative, for a billion draws and for rates from 0.001 to 1000. `jax.random.uniform` can return 0.
#
# **The check** looks at shapes, at the distribution down to its last digits and in its tail, and for reused keys.

# %% exercise="waiting_times"
def waiting_times(key: Key[Array, ""], shape: tuple[int, ...], rate: float) -> Array:
    """Independent exponential numbers with mean 1 / `rate`, all finite and not negative."""
    ### BEGIN SOLUTION
    u = jax.random.uniform(key, shape)
    return -jnp.log1p(-u) / rate
    ### END SOLUTION

# %% [markdown] hints="waiting_times"
# <details><summary>Hint 1: the idea</summary>
#
# Set $u = 1 - e^{-\text{rate} \cdot t}$ and solve for $t$.
# </details>
# <details><summary>Hint 2: the ends of the interval</summary>
#
# `uniform` returns numbers in $[0, 1)$, and in float32 about one in eight million is 0. Which of $u$ and $1 - u$ may you pass to the logarithm?
# </details>

# %% check="waiting_times" points=3
def sensible(sample, key, shape, rate):
    times = sample(key, shape, rate)
    longest = times.max() * rate
    return jnp.stack(
        [jnp.isfinite(times).all(), times.min() >= 0, longest > 9.5, ~(longest > 200)]
    )


def last_digits(sample, key, shape, rate):
    return sample(key, shape, rate) * 64 % 1


mistaken = {
    "multiplied by the rate where it should be divided": lambda t: expon.cdf(t, scale=2.5),
    "the rate makes no difference": expon.cdf,
    "the sign is lost: these are minus the waiting times": lambda t: expon.sf(-t, scale=0.4),
}
check_distribution(
    waiting_times,
    jax.random.key(621),
    (40, 500),
    2.5,
    cdf=expon(scale=0.4).cdf,
    mistakes=mistaken,
)
check_shape(waiting_times, jax.random.key(622), (40, 500), 1.0, returns="40 500")
check_keys(waiting_times, jax.random.key(623), (40, 500), 1.0, rows=True)
check_values(
    through(sensible, waiting_times),
    [np.ones(4, bool)] * 2,
    [(jax.random.key(44), (2**18,), 1.0), (jax.random.key(44), (2**18,), 0.01)],
    mistakes={
        "infinite where `uniform` returned 0": lambda *args: np.array([False, True, True, False]),
        "the longest waiting times are cut off": lambda *args: np.array([True, True, False, True]),
        "where `uniform` returned 0, a waiting time that is far too long": (
            lambda key, shape, rate: np.array([rate >= 1, True, True, False])
        ),
        "all waiting times are cut off at one length, whatever the rate": (
            lambda key, shape, rate: np.array([True, True, rate >= 1, True])
        ),
        "something is added in the logarithm: some times are negative, and none is long": (
            lambda *args: np.array([True, False, False, True])
        ),
        "a small number is added to a uniform number near 1: the logarithm is above 0": (
            lambda *args: np.array([True, False, True, True])
        ),
    },
    about="all are finite, none is negative, the longest is long: a key whose uniform numbers "
    "include 0 and the largest number below 1",
)
### BEGIN HIDDEN TESTS
check_distribution(
    through(last_digits, waiting_times),
    jax.random.key(624),
    (4, 10, 500),
    0.05,
    cdf=uniform.cdf,
    about="the last digits of the numbers",
)
### END HIDDEN TESTS

# %% [markdown]
# ### Draw without replacement
# **Exercise** · 9 minutes · difficulty 3 of 5
#
# *Logits* give the probabilities of a few choices: $p_i \propto e^{\text{logit}_i}$. Add to each logit an independent Gumbel number (`jax.random.gumbel`). The index of the largest sum is $i$ with probability exactly $p_i$. (`jax.random.categorical` works in this way.) The indices of the $k$ largest sums, in falling order, are $k$ *different* choices, drawn one after another without replacement.
#
# `draw_distinct(key, logits, n, k)` **returns** an integer array of shape (n, k): `n` independent draws of `k` different indices each, in the order of drawing. Each is drawn with probability proportional to $p$ among those that are left.
#
# **Edge cases**: logits and their differences may be as large as 1000. A choice whose logit is 200 below another's is drawn before one whose logit is 300 below.
#
# **The check** looks at shapes, at the distribution of the ordered draws, at draws whose order is certain, and for reused keys. It asks for 20,000 draws, for which a Python loop is too slow.

# %% exercise="draw_distinct"
def draw_distinct(
    key: Key[Array, ""], logits: Float[Array, "choices"], n: int, k: int
) -> Int[Array, "n k"]:
    """`n` independent draws of `k` different choices each, without putting back."""
    ### BEGIN SOLUTION
    sums = logits + jax.random.gumbel(key, (n, logits.size))
    return jax.lax.top_k(sums, k)[1]
    ### END SOLUTION

# %% [markdown] hints="draw_distinct"
# <details><summary>Hint 1: the idea</summary>
#
# Draw an array of noise with one row for each draw, add the logits, and rank each row.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.lax.top_k(x, k)` returns the `k` largest values of each row, largest first, and their indices.
# </details>

# %% check="draw_distinct" points=3
def in_one_number(draw, key, logits, n, k):
    """Each draw as a number whose digits are the choices."""
    return draw(key, logits, n, k) @ (logits.size ** jnp.arange(k)[::-1])


def one_after_another(weights, k, read=lambda order, k: order[:k]):
    """The distribution of those numbers, by listing every order in which all could be drawn."""
    m = len(weights)
    chances = np.zeros(m**k)
    for order in permutations(range(m)):
        left = [sum(weights[j] for j in order[i:]) for i in range(m)]
        place = sum(j * m**e for e, j in enumerate(reversed(read(order, k))))
        chances[place] += np.prod([weights[j] / total for j, total in zip(order, left)])
    return chances


def ranked(key, logits, n, k):
    return np.tile(np.argsort(-logits)[:k], (n, 1))


def by_weight(key, logits, n, k):
    """The order in which a weight of zero or infinity in float32 ties with others."""
    with np.errstate(over="ignore"):
        weights = np.exp(logits).astype(np.float32)
    return np.tile(np.argsort(-weights, kind="stable")[:k], (n, 1))


def steps(chances):
    heights = np.concatenate([[0.0], np.cumsum(chances) / np.sum(chances)])
    return lambda x: heights[np.clip(np.floor(x) + 1, 0, len(chances)).astype(int)]


logits = np.log(np.array([0.1, 0.2, 0.3, 0.4]))
p = np.exp(logits)
check_shape(draw_distinct, jax.random.key(631), logits, 30, 2, returns="30 2")
check_distribution(
    through(in_one_number, draw_distinct),
    jax.random.key(632),
    logits,
    20_000,
    2,
    cdf=steps(one_after_another(p, 2)),
    mistakes={
        "drawn with replacement: an index can come twice": steps(np.outer(p, p).ravel()),
        "the noise is added to the probabilities, not to the logits": steps(
            one_after_another(np.exp(p), 2)
        ),
        "the smallest sums are taken": steps(
            one_after_another(p, 2, lambda order, k: order[::-1][:k])
        ),
        "the k choices are in reverse order": steps(
            one_after_another(p, 2, lambda order, k: order[:k][::-1])
        ),
        "the choices of a draw are sorted, not in the order of drawing": steps(
            one_after_another(p, 2, lambda order, k: sorted(order[:k]))
        ),
    },
    about="two of four",
)
check_keys(draw_distinct, jax.random.key(633), logits, 20_000, 2)
check_values(
    draw_distinct,
    ranked,
    [
        (jax.random.key(634), np.array([100.0, 0.0, 300.0], np.float32), 30, 2),
        (jax.random.key(635), np.array([0.0, -300.0, -200.0], np.float32), 30, 2),
        (jax.random.key(636), np.array([-300.0, -600.0, -200.0], np.float32), 40, 2),
    ],
    mistakes={
        "infinite weights: the exponential of large logits overflows": by_weight,
        "the weight of a choice far below the others is rounded to zero: compare logarithms": (
            lambda key, logits, n, k: by_weight(key, logits - logits.max(), n, k)
        ),
    },
    about="logits so far apart that the order is certain",
)
### BEGIN HIDDEN TESTS
check_distribution(
    through(in_one_number, draw_distinct),
    jax.random.key(637),
    300 + np.array([0.0, 1.0, -1.0, 0.5]),
    20_000,
    3,
    cdf=steps(one_after_another(np.exp([0.0, 1.0, -1.0, 0.5]), 3)),
    about="three of four",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 5.4 Find reused keys
#
# ### Bug hunt: the noise that darkens
#
# This function spoils images for a denoising autoencoder. It adds Gaussian noise and sets some pixels to zero. The pixels that remain are darker than they should be.

# %% tags=["demonstration"]
def corrupt_broken(key, x, sigma, drop):
    noise = sigma * jax.random.normal(key, x.shape)
    kept = jax.random.bernoulli(key, 1 - drop, x.shape)
    return jnp.where(kept, x + noise, 0.0)


grey = jnp.full(20_000, 3.0)
spoilt = corrupt_broken(key, grey, 1.0, 0.25)
print("mean of the pixels that were kept:", spoilt[spoilt != 0].mean(), "instead of 3")

# %% tags=["demonstration"]
figure, panes = plt.subplots(
    1, 2, num="Noise against the uniform number, with one key and with two",
    figsize=(8.3, 4), sharey=True, layout="constrained",
)
for pane, other, title in zip(panes, (key, jax.random.key(1)), ("one key", "two keys")):
    u = np.asarray(jax.random.uniform(key, (1000,)))
    z = np.asarray(jax.random.normal(other, (1000,)))
    kept = u < 0.75
    pane.scatter(u[kept], z[kept], s=6, color="C0", label="kept")
    pane.scatter(u[~kept], z[~kept], s=6, color="C1", label="set to zero")
    pane.set(xlabel="the uniform number that decides", title=title)
panes[0].set_ylabel("the noise")
figure.legend(*panes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
plt.show()

# %% [markdown]
# *Left, with one key: the noise is an increasing function of the uniform number, and exactly the pixels with the largest noise are set to zero. Right, with two keys: a cloud, in which kept and dropped pixels have the same spread of noise.*
#
# `normal` and `bernoulli` start from the same uniform numbers. A pixel is kept where that number is small, and there the noise is small too. Nothing raises, and each of the two distributions is right if you test it alone.
#
# JAX has an experimental checker that follows keys, `jax.debug_key_reuse`.
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# Under `jax.debug_key_reuse(True)` you write `first, second = jax.random.split(key)` and then `jax.random.normal(key)`. Does the second line raise a `KeyReuseError`, or nothing?

# %% exercise="after_split" kind="prediction"
# "KeyReuseError" or "none".
### BEGIN SOLUTION
after_split = "KeyReuseError"
### END SOLUTION

# %% check="after_split" points=1
def parent_after_split():
    key = jax.random.key(0)
    try:
        with jax.debug_key_reuse(True):
            jax.random.split(key)
            jax.random.normal(key)
    except Exception as error:
        return type(error).__name__
    return "none"


check_answer(
    after_split,
    parent_after_split,
    because="Splitting uses a key up, as drawing does.",
    mistakes={"none": "that is so without the checker; it raises for a key that has been split"},
)

# %% tags=["demonstration", "raises-exception"]
with jax.debug_key_reuse(True):
    corrupt_broken(jax.random.key(0), grey, 1.0, 0.25)

# %% [markdown]
# Switch it on in your tests, where its cost does not matter.
#
# **Prediction** · 3 minutes · difficulty 4 of 5
#
# Which of these three does the checker catch?
#
# 1. A scan of three steps whose body draws with a key from outside the scan.
# 2. `jax.random.normal(jax.random.key(0))` and `jax.random.uniform(jax.random.key(0))`.
# 3. `child = jax.random.fold_in(key, 1)`, then a draw with `key` and one with `child`.

# %% exercise="caught" kind="prediction"
# A tuple of three booleans.
### BEGIN SOLUTION
caught = (True, False, False)
### END SOLUTION

# %% check="caught" points=1
def closed_over():
    key = jax.random.key(0)
    jax.lax.scan(lambda c, _: (c + jax.random.normal(key), None), 0.0, None, length=3)


def made_twice():
    jax.random.normal(jax.random.key(0))
    jax.random.uniform(jax.random.key(0))


def parent_of_fold():
    key = jax.random.key(0)
    child = jax.random.fold_in(key, 1)
    jax.random.normal(key), jax.random.normal(child)


def is_caught(f):
    try:
        with jax.debug_key_reuse(True):
            f()
    except jax.errors.KeyReuseError:
        return True
    return False


check_answer(
    caught,
    lambda: tuple(map(is_caught, (closed_over, made_twice, parent_of_fold))),
    because="It follows each key from where it was created and does not compare bits, so it does "
    "not see that two keys are equal. fold_in does not use a key up.",
    mistakes={
        (True, True, False): "it does not compare bits: two equal keys count as two keys",
        (True, False, True): "fold_in does not use a key up: a loop folds in one number after another",
        (True, True, True): "it does not compare bits, and fold_in does not use a key up",
        (False, False, False): "it does check the body of a scan, which repeats its draws",
    },
)

# %% [markdown]
# (It does not follow legacy keys (5.9), and does not object to a key that is split and then folded.) A second test is therefore useful: are any two arrays of the result equal? `check_keys` below does both.
#
# ### Independent noise and mask
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# `corrupt(key, x, sigma, drop)` **returns** an array of the shape of `x`: normal noise of standard deviation `sigma` is added, then each pixel is set to zero with probability `drop`.
#
# **Edge cases**: `x` has any shape, and each of its numbers is a pixel. Noise and zeros are independent of each other, and from pixel to pixel. `sigma` and `drop` may be 0.
#
# **The check** looks at the distribution, at images and rows, and for reused keys.

# %% exercise="corrupt"
def corrupt(
    key: Key[Array, ""], x: Float[Array, "..."], sigma: float, drop: float
) -> Float[Array, "..."]:
    """`x` with independent noise and independent zeros."""
    ### BEGIN SOLUTION
    noise_key, mask_key = jax.random.split(key)
    noise = sigma * jax.random.normal(noise_key, x.shape)
    kept = jax.random.bernoulli(mask_key, 1 - drop, x.shape)
    return jnp.where(kept, x + noise, 0.0)
    ### END SOLUTION

# %% [markdown] hints="corrupt"
# <details><summary>Hint 1: the idea</summary>
#
# Two draws need two keys. After the split do not draw with `key` itself.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `noise_key, mask_key = jax.random.split(key)` makes two keys, the default.
# </details>

# %% check="corrupt" points=3
def with_zeros(mean, sigma, drop):
    return lambda v: (1 - drop) * norm.cdf(v, mean, sigma) + drop * (v >= 0)


def zeros_in(corrupt, key, x):
    return corrupt(key, x, 1.0, 0.5) == 0


def zeros_of_an_image(corrupt, key, x):
    return zeros_in(corrupt, key, x).sum(axis=(1, 2))


def along_each_axis(corrupt, key, x):
    noise = corrupt(key, x, 2.0, 0.0)
    return {f"axis {i}": jnp.moveaxis(noise, i, 0) for i in range(x.ndim)}


check_distribution(
    corrupt,
    jax.random.key(641),
    np.full(20_000, 3.0),
    2.0,
    0.25,
    cdf=with_zeros(3.0, 2.0, 0.25),
    mistakes={
        "where the noise is largest the pixel is set to zero: both come from one key": lambda v: (
            np.minimum(norm.cdf(v, 3.0, 2.0), 0.75) + 0.25 * (v >= 0)
        ),
        "the pixels with probability `drop` are the ones that are kept": with_zeros(3.0, 2.0, 0.75),
        "sigma is taken for the variance": with_zeros(3.0, np.sqrt(2.0), 0.25),
        "dropped pixels lose their noise and keep their value": lambda v: (
            0.75 * norm.cdf(v, 3.0, 2.0) + 0.25 * (v >= 3)
        ),
        "dropped pixels keep their noise": lambda v: (
            0.75 * norm.cdf(v, 3.0, 2.0) + 0.25 * norm.cdf(v, 0.0, 2.0)
        ),
    },
)
check_values(
    corrupt,
    lambda key, x, sigma, drop: x,
    sweep(jax.random.key(642), "n", 0.0, 0.0, count=2, scale=20.0, planted=True)
    + sweep(jax.random.key(643), "n m k", np.float32(0), np.float32(0), count=1),
    about="no noise, and nothing dropped",
)
check_keys(corrupt, jax.random.key(644), np.ones((4, 5000)), 1.0, 0.25, about="the whole")
check_keys(
    through(zeros_in, corrupt),
    jax.random.key(645),
    np.ones((4, 5000)),
    rows=True,
    about="the zeros",
)
check_distribution(
    through(zeros_of_an_image, corrupt),
    jax.random.key(646),
    np.ones((20_000, 2, 2)),
    cdf=binom(4, 0.5).cdf,
    mistakes={
        "all pixels of a row are dropped together": lambda v: (v >= 0) / 2 + (v >= 4) / 2,
        "pixels along the last axis are dropped together": (
            lambda v: (v >= 0) / 4 + (v >= 2) / 2 + (v >= 4) / 4
        ),
    },
    about="how many zeros an image of 2 by 2 has",
)
### BEGIN HIDDEN TESTS
check_keys(
    through(along_each_axis, corrupt),
    jax.random.key(647),
    np.zeros((10, 8, 6)),
    rows=True,
    about="the noise along each axis",
)
### END HIDDEN TESTS

# %% [markdown]
# This is a good place for a break.
#
# ## 5.5 Dropout: pass the key through the layers
#
# While training, dropout sets each hidden activation to zero with probability 1 - `keep`, and divides the others by `keep`, so that the expectation stays the same.
#
# > **In PyTorch** dropout takes its random numbers from a global generator, and its mode from `model.train()`. Here both are arguments. The mode is a static Boolean, so training and evaluation are two programs. PyTorch's `p` is the probability of zero, `1 - keep`.
#
# ### An MLP with dropout
# **Exercise** · 10 minutes · difficulty 3 of 5
#
# `mlp_dropout(key, params, x, keep, train)` **returns** the output of the MLP. `params` is a list of `{"w", "b"}`. Each hidden layer has a ReLU and, if `train`, dropout. The output layer has neither.
#
# **Edge cases**: any number of layers, also one. Every layer, example and unit has its own independent mask. With `train=False` nothing is random, and `key` may be `None`.
#
# **The check** compares values without dropout, looks at the distribution with it, at whether masks are independent, and for reused keys.

# %% exercise="mlp_dropout"
def mlp_dropout(
    key: Key[Array, ""] | None,
    params: list,
    x: Float[Array, "batch inputs"],
    keep: float,
    train: bool,
) -> Float[Array, "batch outputs"]:
    """The output of the MLP, with dropout after each hidden layer if `train`."""
    ### BEGIN SOLUTION
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if train:
            key, mask_key = jax.random.split(key)
            kept = jax.random.bernoulli(mask_key, keep, x.shape)
            x = jnp.where(kept, x / keep, 0.0)
    return x @ params[-1]["w"] + params[-1]["b"]
    ### END SOLUTION

# %% [markdown] hints="mlp_dropout"
# <details><summary>Hint 1: the idea</summary>
#
# In a loop over layers, `key, layer_key = jax.random.split(key)` keeps the first key for the next layer and uses the second. Or split for all layers before the loop.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.random.bernoulli(key, keep, shape)` is True with probability `keep`. Which shape gives each example its own mask?
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# ```
# for layer in params[:-1]:
#     x = jax.nn.relu(...)
#     if train:
#         key, mask_key = ...
#         x = ...
# return ...
# ```
# </details>

# %% check="mlp_dropout" points=3
def layer_by_layer(key, params, x, keep, train, relu_last=False, scale=1.0):
    for i, layer in enumerate(params):
        x = x @ layer["w"] + layer["b"]
        if i < len(params) - 1 or relu_last:
            x = np.maximum(x, 0) * scale
    return x


def through_identities(layers, width):
    """Parameters with which the hidden layers pass a positive input on unchanged."""
    return [{"w": np.eye(width), "b": np.zeros(width)} for _ in range(layers)]


def unit_by_unit(apply, key, params, x):
    return {"units": apply(key, params, x, 0.5, True).T}


def zero_or(value, chance):
    return lambda v: (1 - chance) * (v >= 0) + chance * (v >= value)


def shares_a_mask(apply, key):
    """Whether the first hidden layer's mask of an example is the second's of any example.

    A unit that the second mask keeps is 6 where the first mask keeps it too, and 2 where not.
    """
    one, two, last = through_identities(3, 100)
    units = apply(key, [one, two | {"b": np.ones(100)}, last], np.ones((30, 100)), 0.5, True)
    first, second = units[:, None] > 4, units[:, None] > 0
    return jnp.all((first == second.swapaxes(0, 1)) | ~second, axis=2).any()


def layers(*sizes):
    return [{"w": f"{n} {m}", "b": f"{m}"} for n, m in pairwise(sizes)]


pairs_of_inputs = {"w": np.repeat(np.eye(20), 2, axis=0), "b": np.zeros(20)}
check_values(
    mlp_dropout,
    layer_by_layer,
    sweep(None, layers(*"abcd"), "n a", 0.5, False, count=2, planted=True)
    + sweep(jax.random.key(651), layers(*"abc"), "n a", 0.25, False, count=1),
    mistakes={
        "at evaluation everything is multiplied by keep": (
            lambda key, params, x, keep, train: layer_by_layer(
                key, params, x, keep, train, scale=keep
            )
        ),
        "a ReLU after the last layer": lambda *args: layer_by_layer(*args, relu_last=True),
    },
    about="evaluation, without a key",
)
check_keys(
    mlp_dropout,
    jax.random.key(652),
    through_identities(2, 60),
    np.ones((60, 60)),
    0.5,
    True,
    rows=True,
    about="the examples of a batch",
)
check_distribution(
    mlp_dropout,
    jax.random.key(653),
    [pairs_of_inputs, *through_identities(2, 20)],
    np.full((4000, 40), 9 / 32),  # so that 3/4 and its square divide without rounding
    0.25,
    True,
    cdf=zero_or(9.0, 1 / 16),
    mistakes={
        "both hidden layers drop the same units: one key for two masks": zero_or(9.0, 1 / 4),
        "the output layer has dropout too": zero_or(36.0, 1 / 64),
        "what is kept is not divided by keep": zero_or(9 / 16, 1 / 16),
        "only one of the two hidden layers has dropout": zero_or(9 / 4, 1 / 4),
        "nothing is dropped": zero_or(9 / 16, 1.0),
        "the inputs have dropout too": lambda v: (
            (v >= 0) * 249 / 256 + (v >= 18) * 6 / 256 + (v >= 36) / 256
        ),
        "`keep` is taken for the probability of zero": zero_or(1.0, 9 / 16),
        "what is kept is divided by 1 - keep": zero_or(1.0, 1 / 16),
    },
    about="two hidden layers",
)
check_keys(
    through(unit_by_unit, mlp_dropout),
    jax.random.key(654),
    through_identities(3, 60),
    np.ones((60, 60)),
    rows=True,
    about="the units of one layer",
)
check_values(
    through(shares_a_mask, mlp_dropout),
    [np.array(False)],
    [(jax.random.key(655),)],
    mistakes={
        "the mask of one example is that of another example in the next layer: one key for both": (
            lambda key: np.array(True)
        )
    },
    about="whether masks of two layers are equal",
)
### BEGIN HIDDEN TESTS
check_distribution(
    mlp_dropout,
    jax.random.key(656),
    through_identities(4, 10),
    np.ones((2000, 10)),
    0.5,
    True,
    cdf=zero_or(8.0, 1 / 8),
    mistakes={"layers that are not neighbours share their mask": zero_or(8.0, 1 / 4)},
    about="three hidden layers",
)
check_values(
    mlp_dropout,
    layer_by_layer,
    sweep(None, layers(4, 3), "5 4", 0.5, False, count=1, seed=2)
    + sweep(jax.random.key(657), layers(*"abcd"), "n a", 1.0, True, count=2, planted=True),
    about="no hidden layer, and layers that keep everything",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 5.6 Keys in loops
#
# In a `scan` there are two good ways. Split before the loop and scan over the keys, or carry the key and split it in each step:
#
# ```
# jax.lax.scan(step, start, jax.random.split(key, steps))      # step(x, key)
# jax.lax.scan(step, (start, key), length=steps)               # step((x, key), _)
# ```
#
# A key from outside the loop is the same in every step, which is a bug:

# %% tags=["demonstration"]
def walk(key, steps):
    def step(x, step_key):
        x = x + jax.random.normal(step_key)
        return x, x

    return jax.lax.scan(step, 0.0, jax.random.split(key, steps))[1]


def walk_broken(key, steps):
    def step(x, _):
        x = x + jax.random.normal(key)
        return x, x

    return jax.lax.scan(step, 0.0, length=steps)[1]


print(walk(key, 5))
print(walk_broken(key, 5))

# %% [markdown]
# The broken walk makes equal steps.
#
# A useful loop of this kind is the **Metropolis** algorithm. It draws from a density $p$ of which you know only the logarithm, up to a constant. It starts anywhere and repeats: propose $x' = x + \text{width} \cdot z$ with a standard normal $z$, and move to $x'$ with probability $\min(1, p(x') / p(x))$, else stay. After enough steps $x$ has the distribution $p$.
#
# ### The Metropolis sampler
# **Exercise** · 12 minutes · difficulty 4 of 5
#
# `metropolis(key, log_density, start, steps, width)` **returns** an array of shape (steps, walkers). Row $i$ has the positions of all walkers after step $i + 1$.
#
# **Edge cases**: `start` has one number for each walker, and the walkers are independent. `log_density` works elementwise. Where it is very low, the density itself underflows to zero. `width` may be 0.
#
# **The check** looks at shapes, at the distribution after one step and after many, for reused keys, and that the program does not grow with `steps`. (The function is jitted. `log_density` and `steps` are static.)

# %% exercise="metropolis"
@partial(jax.jit, static_argnames=("log_density", "steps"))
def metropolis(
    key: Key[Array, ""], log_density, start: Float[Array, "walkers"], steps: int, width: float
) -> Float[Array, "steps walkers"]:
    """The positions of all walkers after each of `steps` Metropolis steps."""

    ### BEGIN SOLUTION
    def step(x, step_key):
        move_key, accept_key = jax.random.split(step_key)
        proposed = x + width * jax.random.normal(move_key, x.shape)
        threshold = jnp.log(jax.random.uniform(accept_key, x.shape))
        x = jnp.where(threshold < log_density(proposed) - log_density(x), proposed, x)
        return x, x

    return jax.lax.scan(step, start, jax.random.split(key, steps))[1]
    ### END SOLUTION

# %% [markdown] hints="metropolis"
# <details><summary>Hint 1: the idea</summary>
#
# Each step draws twice for every walker: the proposal, and the decision to accept it.
# </details>
# <details><summary>Hint 2: accept with a probability</summary>
#
# A uniform number is below $q$ with probability $q$. Compare the logarithms of both sides. You then need no minimum with 1, because the logarithm of a uniform number is never positive.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# ```
# def step(x, step_key):
#     move_key, accept_key = ...
#     proposed = ...
#     x = jnp.where(..., proposed, x)
#     return x, x
#
# return jax.lax.scan(step, start, ...)[1]
# ```
# </details>

# %% check="metropolis" points=3
def row(run, key, log_density, start, steps, width, which):
    return run(key, log_density, start, steps, width)[which]


def log_gumbel(x):
    return -x - jnp.exp(-x)


def gumbel(v):
    return np.exp(-np.exp(-np.maximum(v, -50.0)))


def simulated(log_density, start, steps, width, accept, moves="standard_normal", fresh=True):
    """The distribution after the last step in NumPy, where `accept` decides."""
    rng = np.random.default_rng(0)
    x = np.array(start)
    for i in range(steps):
        if fresh or i == 0:
            z, u = getattr(rng, moves)(x.shape), rng.random(x.shape)
        proposed = x + width * z
        gain = np.asarray(log_density(proposed) - log_density(x))
        x = np.where(accept(u, gain, z), proposed, x)
    x = np.sort(x)
    return lambda v: np.searchsorted(x, v, "right") / x.size


some, many = np.full(4_000, 2.0), np.repeat([2.0, 0.5], 10_000)
check_shape(metropolis, jax.random.key(661), log_gumbel, np.zeros(20), 5, 1.0, returns="5 20")
check_distribution(
    through(row, metropolis),
    jax.random.key(662),
    log_gumbel,
    some,
    50,
    2.0,
    -1,
    cdf=gumbel,
    mistakes={
        "the proposal and the decision come from one key": simulated(
            log_gumbel, some, 50, 2.0, lambda u, gain, z: np.log(norm.cdf(z)) < gain
        ),
        "every proposal is accepted": norm(2, 2 * np.sqrt(50)).cdf,
        "every step draws the same numbers: the key does not change": simulated(
            log_gumbel, some, 50, 2.0, lambda u, gain, z: np.log(u) < gain, fresh=False
        ),
        "only moves uphill are made": simulated(
            log_gumbel, some, 50, 2.0, lambda u, gain, z: gain > 0
        ),
        "the difference of logarithms is taken for the ratio": simulated(
            log_gumbel, some, 50, 2.0, lambda u, gain, z: u < gain
        ),
        "the proposals are uniform and not normal": simulated(
            log_gumbel, some, 50, 2.0, lambda u, gain, z: np.log(u) < gain, moves="random"
        ),
    },
    about="the last step",
)
check_distribution(
    through(row, metropolis),
    jax.random.key(663),
    log_gumbel,
    many,
    3,
    0.5,
    0,
    cdf=simulated(log_gumbel, many, 1, 0.5, lambda u, gain, z: np.log(u) < gain),
    mistakes={
        "the first row is the start": lambda v: (v >= 0.5) / 2 + (v >= 2) / 2,
        "all walkers start where the first one does": simulated(
            log_gumbel, np.full(20_000, 2.0), 1, 0.5, lambda u, gain, z: np.log(u) < gain
        ),
        "the variance of the move is `width`": simulated(
            log_gumbel, many, 1, 0.5**0.5, lambda u, gain, z: np.log(u) < gain
        ),
    },
    about="the first step",
)
check_keys(metropolis, jax.random.key(664), log_gumbel, np.zeros(20), 5, 2.0)
check_primitives(
    metropolis,
    jax.random.key(665),
    log_gumbel,
    np.zeros(3),
    4,
    1.0,
    same_size_for=[(jax.random.key(665), log_gumbel, np.zeros(3), 9, 1.0)],
    static_argnums=(3,),
)
### BEGIN HIDDEN TESTS
check_distribution(
    through(row, metropolis),
    jax.random.key(666),
    lambda x: -2 * jnp.abs(x - 1),
    np.full(4_000, 60.0),
    200,
    2.0,
    -1,
    cdf=laplace(1, 0.5).cdf,
    mistakes={
        "where the density itself is too small for float32, nothing moves": lambda v: (
            1.0 * (v >= 60)
        )
    },
    about="another density, a start far out",
)
check_values(
    metropolis,
    lambda key, log_density, start, steps, width: np.tile(start, (steps, 1)),
    sweep(jax.random.key(667), log_gumbel, "n", 3, 0.0, count=2, planted=True)
    + sweep(jax.random.key(668), lambda x: 0 * x, normal("6", 400.0), 5, 0.0, count=1),
    about="moves of width 0, which all lead to where they began",
)
### END HIDDEN TESTS

# %% [markdown]
# Your walkers on a density with two hills. All of them start at 0:

# %% tags=["demonstration", "raises-exception"]
def two_hills(x):
    return jnp.logaddexp(-((x - 2) ** 2), -((x + 2) ** 2))


path = metropolis(key, two_hills, jnp.zeros(5000), 300, 1.0)
figure, (left, right) = plt.subplots(
    1, 2, num="Paths of three walkers, and the histogram of all of them",
    figsize=(9, 3.5),
)
left.plot(path[:, :3]), left.set(xlabel="step", ylabel="position")
right.hist(np.asarray(path[-1]), bins=60, density=True, label="5,000 walkers")
line = np.linspace(-5, 5, 300)
right.plot(line, np.exp(two_hills(line)) / (2 * np.sqrt(np.pi)), color="gray", label="density")
right.set(xlabel="position"), right.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
figure.tight_layout()
plt.show()

# %% [markdown]
# *Left: three walkers stay on a hill for many steps, and then cross to the other. Right: after 300 steps the histogram of all walkers follows the density.*
#
# ## 5.7 A new order for every epoch
#
# Training visits the examples in a new random order in each epoch. After a crash in epoch 57 you want the order of *that* epoch without replaying the others. `fold_in(key, epoch)` gives its key directly. The number may be traced, such as a counter in a scan.
#
# ### Shuffled batches
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# `epoch_batches(key, epoch, n, batch_size)` **returns** an integer array of shape (batches, batch_size): the indices 0 to `n - 1` in random order, one batch in each row.
#
# **Edge cases**: indices that do not fill a batch are left out, and each epoch leaves out others. `epoch` may be traced, `n` and `batch_size` are Python integers. The orders of different epochs and of different keys are independent.
#
# **The check** looks at shapes, at how often each index occurs, at the order within and between epochs, and for reused keys.

# %% exercise="epoch_batches"
def epoch_batches(
    key: Key[Array, ""], epoch: int | Int[Array, ""], n: int, batch_size: int
) -> Int[Array, "batches batch_size"]:
    """The indices of the examples in each batch of one epoch."""
    ### BEGIN SOLUTION
    order = jax.random.permutation(jax.random.fold_in(key, epoch), n)
    batches = n // batch_size
    return order[: batches * batch_size].reshape(batches, batch_size)
    ### END SOLUTION

# %% [markdown] hints="epoch_batches"
# <details><summary>Hint 1: the idea</summary>
#
# Derive a key for the epoch, draw one random order of all examples, cut off those that do not fill a batch, and reshape.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.random.permutation(key, n)` with an integer `n` returns the numbers below `n` in random order. `order[:m]` needs a Python integer `m`, which you can compute from `n` and `batch_size`.
# </details>

# %% check="epoch_batches" points=3
count = jax.jit(jnp.bincount, static_argnames="length")


def times_seen(batches_of, key, epoch, n, batch_size):
    return count(batches_of(key, epoch, n, batch_size).ravel(), length=n)


def ever_seen(batches_of, key, n, batch_size):
    counts = sum(times_seen(batches_of, key, epoch, n, batch_size) for epoch in range(20))
    return counts > 0


def three_epochs(batches_of, key, first, n, batch_size):
    return [batches_of(jax.random.clone(key), first + i, n, batch_size) for i in range(3)]


def neighbours(batches_of, key, n, batch_size):
    """The epochs of four keys whose words are neighbours, as those of the seeds 8 and 9."""
    steps = jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]], jnp.uint32)
    words = jax.random.key_data(jax.random.clone(key)) + steps
    return [
        three_epochs(batches_of, neighbour, 0, n, batch_size)
        for neighbour in jax.random.wrap_key_data(words)
    ]


def gaps_in_a_batch(batches_of, key, n):
    batches = batches_of(key, 0, n, 100)
    return (batches[:, 1::2] - batches[:, ::2]) / n


check_shape(epoch_batches, jax.random.key(671), 0, 11, 4, returns="2 4")
check_values(
    through(times_seen, epoch_batches),
    [np.ones(12, int), np.ones(15, int)],
    [(jax.random.key(672), 3, 12, 4), (jax.random.key(672), 5, 15, 3)],
    about="how often each example comes in an epoch",
)
check_keys(
    through(three_epochs, epoch_batches), jax.random.key(673), 0, 40, 5, about="three epochs"
)
check_values(
    through(ever_seen, epoch_batches),
    [np.ones(11, bool)],
    [(jax.random.key(674), 11, 4)],
    mistakes={"the last examples are left out in every epoch": lambda *args: np.arange(11) < 8},
    about="which examples come in 20 epochs",
)
check_distribution(
    through(gaps_in_a_batch, epoch_batches),
    jax.random.key(675),
    20_000,
    cdf=lambda v: np.where(v < 0, (1 + v) ** 2 / 2, 1 - (1 - np.minimum(v, 1)) ** 2 / 2) * (v > -1),
    mistakes={
        "neighbours stay together: whole batches were shuffled": lambda v: (
            1.0 * (v >= np.float32(1 / 20_000))
        )
    },
    about="how far apart two examples of a batch are",
)
check_pure(epoch_batches, jax.random.key(676), 3, 10, 4, static_argnums=(2, 3))
### BEGIN HIDDEN TESTS
check_keys(
    through(three_epochs, epoch_batches), jax.random.key(677), 70_000, 33, 8, about="late epochs"
)
check_keys(
    through(neighbours, epoch_batches), jax.random.key(678), 40, 5, about="epochs of other keys"
)
### END HIDDEN TESTS

# %% tags=["demonstration", "raises-exception"]
orders = jnp.stack([epoch_batches(key, epoch, 24, 4).ravel() for epoch in range(6)])
plt.figure("Batch of each example in six epochs", figsize=(8, 2.5))
plt.imshow(jnp.argsort(orders, axis=1) // 4, cmap="tab10", vmin=0, vmax=9)
plt.xlabel("example"), plt.ylabel("epoch")
plt.show()

# %% [markdown]
# *Six epochs of your function. The colour of an example is its batch. In each row every colour comes four times, and the rows differ.*
#
# ## 5.8 Keys by name and index
#
# Suppose that you initialise an ensemble of ten networks. Later you add five members and a layer `a_norm`. The existing arrays should not change, so that you can compare runs. With `split` over all leaves they would change: `a_norm` comes first in the sorted order, and every leaf after it gets another key.
#
# Instead, derive each key from what it is *for*: fold in the index of the member, then a number made from the name. Python's `hash(name)` does not work, since it differs from process to process. `zlib.crc32(name.encode())` returns the same 32-bit number everywhere.
#
# ### Initialise an ensemble that can grow
# **Exercise** · 9 minutes · difficulty 4 of 5
#
# `init_ensemble(key, members, shapes)` **returns** a list with one dict for each member: independent standard normal arrays, with the names and shapes in `shapes`.
#
# **Edge cases**: an array depends on `key`, on the index of its member, and on its own name and shape. It does not change if members or names are added, or in another process. Any two arrays are independent, also for names that differ in one letter.
#
# **The check** looks at shapes and at the distribution down to its last digits, at the arrays after such changes, and for reused keys.

# %% exercise="init_ensemble"
def init_ensemble(
    key: Key[Array, ""], members: int, shapes: dict[str, tuple[int, ...]]
) -> list[dict[str, Array]]:
    """Standard normal parameters that do not change when members or names are added."""

    ### BEGIN SOLUTION
    def draw(member_key, name):
        name_key = jax.random.fold_in(member_key, zlib.crc32(name.encode()))
        return jax.random.normal(name_key, shapes[name])

    keys = [jax.random.fold_in(key, i) for i in range(members)]
    return [{name: draw(member_key, name) for name in shapes} for member_key in keys]
    ### END SOLUTION

# %% [markdown] hints="init_ensemble"
# <details><summary>Hint 1: the idea</summary>
#
# Derive keys on two levels: a key for the member from `key` and its index, then a key for the array from the member's key and the name.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# Call `jax.random.fold_in(key, number)` twice. If you add the two numbers first, different pairs can give the same key.
# </details>

# %% check="init_ensemble" points=3
two = {"w": (4, 5), "out": (20,)}


def values_of(init, key, members, shapes):
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(init(key, members, shapes))])


def alike(some, others):
    return jnp.stack([jnp.array_equal(a, b) for a, b in zip(some, others)])


def with_more_members(init, key):
    few, more = init(key, 2, two), init(key, 5, two)
    return alike(jax.tree.leaves(few), jax.tree.leaves(more[:2]))


class Name(str):
    """A copy of a name, at a place in memory of its own."""


def with_more_names(init, key):
    copies = {Name(name): shape for name, shape in two.items()}
    few, more = init(key, 2, two), init(key, 2, {"a_norm": (20,), **copies, "z": (20,)})
    return alike([m[name] for m in few for name in two], [m[name] for m in more for name in two])


def with_hash(init, key, number):
    """What `init` returns in a process in which each hash is this number."""
    names = getattr(unwrap(init), "__globals__", {})
    if "hash" in names:
        return init(key, 2, two)
    names["hash"] = lambda value: number
    try:
        return init(key, 2, two)
    finally:
        del names["hash"]


def in_another_process(init, key):
    one, other = with_hash(init, key, 7), with_hash(init, key, 8)
    return alike(jax.tree.leaves(one), jax.tree.leaves(other))


def last_digits_of_values(init, key, members, shapes):
    return values_of(init, key, members, shapes) * 256 % 1


check_shape(init_ensemble, jax.random.key(681), 2, two, returns=[{"w": "4 5", "out": "20"}] * 2)
check_keys(init_ensemble, jax.random.key(682), 3, two)
check_values(
    through(with_more_members, init_ensemble),
    [np.ones(4, bool)],
    [(jax.random.key(683),)],
    mistakes={"adding members changes the arrays of the others": lambda key: np.zeros(4)},
    about="after members were added",
)
check_values(
    through(with_more_names, init_ensemble),
    [np.ones(4, bool)],
    [(jax.random.key(684),)],
    mistakes={"adding names changes the other arrays": lambda key: np.zeros(4)},
    about="after names were added",
)
check_values(
    through(in_another_process, init_ensemble),
    [np.ones(4, bool)],
    [(jax.random.key(685),)],
    mistakes={"`hash` of a name differs from one process to the next": lambda key: np.zeros(4)},
    about="in another process, where Python's hashes differ",
)
check_distribution(
    through(values_of, init_ensemble),
    jax.random.key(686),
    3,
    {"w": (80, 80), "out": (80, 60)},
    cdf=norm.cdf,
)
### BEGIN HIDDEN TESTS
check_keys(
    init_ensemble,
    jax.random.key(687),
    2,
    dict.fromkeys(("dense_12", "dense_21", "d", "layer_1_bias", "layer_2_bias", "layer_2_scale"), (20,)),
    about="other names",
)
check_keys(
    init_ensemble,
    jax.random.key(688),
    2,
    {"gate_value_1602": (20,), "bias_down_1889": (20,)},
    about="names whose CRC-32 are neighbours",
)
check_distribution(
    through(last_digits_of_values, init_ensemble),
    jax.random.key(689),
    2,
    {"w": (80, 80), "out": (80, 60)},
    cdf=uniform.cdf,
    about="the last digits of the numbers",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 5.9 Legacy keys: PRNGKey
#
# Much JAX code uses `jax.random.PRNGKey(0)`, often named `rng`. This is the legacy form of a key: a plain `uint32` array of its two words. It draws the same numbers, but nothing marks it as a key, so it can be added, averaged or mistaken for data.
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# What are the shapes of `jax.random.split(jax.random.PRNGKey(0), 3)` and of `jax.random.split(jax.random.key(0), 3)`?

# %% exercise="split_shapes" kind="prediction"
# A tuple of two tuples.
### BEGIN SOLUTION
split_shapes = ((3, 2), (3,))
### END SOLUTION

# %% check="split_shapes" points=1
check_answer(
    split_shapes,
    lambda: (
        jax.random.split(jax.random.PRNGKey(0), 3).shape,
        jax.random.split(jax.random.key(0), 3).shape,
    ),
    because="The words of a legacy key are an axis of the array. A typed key is one element.",
    mistakes={
        ((3,), (3,)): "the two words of a legacy key are an additional axis",
        ((3, 2), (3, 2)): "a typed key is one element, whose words are not an axis",
        ((3,), (3, 2)): "the other way round",
    },
)

# %% tags=["demonstration"]
old, new = jax.random.PRNGKey(42), jax.random.key(42)
print(old, old.dtype, "  ", new.dtype)
print(jax.random.normal(old, (2,)), jax.random.normal(new, (2,)))
print(jax.random.wrap_key_data(old) == new, jax.random.key_data(new))

# %% [markdown]
# | old code | new code |
# |---|---|
# | `np.random.seed(0)` | `key = jax.random.key(0)`, once, at the top |
# | `np.random.normal(0, s, shape)` inside `f(x)` | `s * jax.random.normal(key, shape)` inside `f(key, x)` |
# | `np.random.shuffle(x)` | `x = jax.random.permutation(key, x)` |
# | `np.random.randint(1, 7)` | `jax.random.randint(key, (), 1, 7)`: 1 to 6, as in NumPy |
# | `jax.random.PRNGKey(seed)` | `jax.random.key(seed)`: same numbers |
# | legacy words from a file | `jax.random.wrap_key_data(words)` |
# | `np.save(file, rng)` | `np.save(file, jax.random.key_data(key))` |
#
# **Prediction** · 1 minute · difficulty 3 of 5
#
# Which of these keys equal `jax.random.key(5)`?
#
# - a: `jax.random.key(2**32 + 5)`
# - b: `jax.random.key(-5)`
# - c: `jax.random.key(np.int64(5))`
# - d: `jax.random.key(2**31 + 5)`

# %% exercise="equal_keys" kind="prediction"
# A string of letters in alphabetical order, such as "bc".
### BEGIN SOLUTION
equal_keys = "ac"
### END SOLUTION

# %% check="equal_keys" points=1
def keys_like_five():
    seeds = {"a": 2**32 + 5, "b": -5, "c": np.int64(5), "d": 2**31 + 5}
    return "".join(
        letter
        for letter, seed in seeds.items()
        if bool(jax.random.key(seed) == jax.random.key(5))
    )


check_answer(
    equal_keys,
    keys_like_five,
    because="By default a seed is cut to its lowest 32 bits, without an error.",
    mistakes={
        "c": "a has the lowest 32 bits of 5, and a seed is cut to these by default",
        "acd": "2**31 + 5 fits into 32 bits, so it is another seed",
        "a": "the type of the seed makes no difference",
        "abc": "the sign is not dropped: the lowest 32 bits of -5 are 2**32 - 5",
    },
)

# %% [markdown]
# A time in nanoseconds as a seed thus loses its upper half.
#
# A library that accepts both kinds of key converts them in one place:
#
# ### Convert seeds and legacy keys
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# `as_key(given)` **returns** typed keys:
#
# - for a typed key or an array of typed keys, `given` itself;
# - for a seed, `jax.random.key(given)`. A seed is a Python integer or an integer array of shape `()`, and may be negative;
# - for legacy words of shape `(..., 2)`, the typed keys of shape `(...)` that draw the same numbers.
#
# **Edge cases**: seeds and words may be NumPy or JAX arrays, and may be traced. Typed keys may be of any generator.
#
# **The check** compares the dtype and the words of the result.

# %% exercise="as_key"
def as_key(given) -> Key[Array, "..."]:
    """Typed keys from typed keys, from a seed, or from legacy words."""
    ### BEGIN SOLUTION
    if not jnp.shape(given):
        is_typed = hasattr(given, "dtype") and jnp.issubdtype(given.dtype, jax.dtypes.prng_key)
        return given if is_typed else jax.random.key(given)
    if jnp.issubdtype(given.dtype, jax.dtypes.prng_key):
        return given
    return jax.random.wrap_key_data(given)
    ### END SOLUTION

# %% [markdown] hints="as_key"
# <details><summary>Hint 1: the idea</summary>
#
# Decide by dtype and shape. Both are known at trace time, so a Python `if` works. A Python integer has no dtype.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jnp.issubdtype(a.dtype, jax.dtypes.prng_key)` is True for typed keys. `jnp.shape(3)` is `()`.
# </details>

# %% check="as_key" points=3
def typed_words(as_key, given):
    key = as_key(given)
    return jnp.issubdtype(key.dtype, jax.dtypes.prng_key), jax.random.key_data(key)


def its_words(given):
    if hasattr(given, "dtype") and jnp.issubdtype(given.dtype, jax.dtypes.prng_key):
        found = np.asarray(jax.random.key_data(given))
    elif np.ndim(given) == 0:
        found = np.array([0, int(given) % 2**32], np.uint32)
    else:
        found = np.asarray(given)
    return np.array(True), found


def from_words_and_seed(as_key, words, seed):
    return as_key(words), as_key(seed)


legacy = np.asarray(jax.random.key_data(jax.random.split(jax.random.key(3), 4)))
check_values(
    through(typed_words, as_key),
    its_words,
    [(7,), (np.int32(8),), (-3,), (jnp.int32(-4),)],
    mistakes={"a seed becomes a legacy key": lambda given: (np.array(False), its_words(given)[1])},
    about="seeds",
)
check_values(
    through(typed_words, as_key),
    its_words,
    [(jax.random.key(5),), (jax.random.split(jax.random.key(5)),)],
    about="typed keys",
)
check_values(
    through(typed_words, as_key),
    its_words,
    [(np.array([0, 42], np.uint32),), (legacy[1],), (legacy,), (jnp.asarray(legacy[:2]),)],
    mistakes={
        "legacy words come back as legacy words": lambda given: (np.array(False), given),
        "the last word is taken for the seed": lambda given: (
            np.array(True),
            given if given.ndim == 2 else np.array([0, given[1]]),
        ),
    },
    about="legacy words",
)
check_pure(through(from_words_and_seed, as_key), legacy[0], np.int32(8))
### BEGIN HIDDEN TESTS
check_values(
    through(typed_words, as_key),
    its_words,
    [
        (np.uint32(9),),
        (legacy.reshape(2, 2, 2),),
        (legacy[:2],),
        (jax.random.split(jax.random.key(6), (3, 2)),),
    ],
    about="other shapes",
)
check_values(
    through(typed_words, as_key),
    its_words,
    [(jax.random.key(7, impl="rbg"),), (jax.random.split(jax.random.key(8, impl="unsafe_rbg")),)],
    about="typed keys of another generator",
)
### END HIDDEN TESTS

# %% [markdown]
# ## What to remember
#
# 1. A random number is a function of a key and an index. With the default generator the same key gives the same numbers under `jit`, in a loop and on any device.
# 2. Use each key once, for one draw or one split. Split before a loop, or carry the key.
# 3. A reused key raises nothing and makes results dependent. `jax.debug_key_reuse(True)` finds most cases, not all.
# 4. Use `split` for a known number of keys, `fold_in` for counters and names, and never both on one key.
# 5. Test a sampler by its whole distribution function, with a bound that you compute.
#
# ## Further reading
#
# - The JAX documentation: [Pseudorandom numbers](https://docs.jax.dev/en/latest/random-numbers.html), [`jax.random`](https://docs.jax.dev/en/latest/jax.random.html), [Key reuse checking](https://docs.jax.dev/en/latest/jax.experimental.key_reuse.html), [JEP 263: JAX PRNG design](https://docs.jax.dev/en/latest/jep/263-prng.html), [JEP 9263: Typed keys](https://docs.jax.dev/en/latest/jep/9263-typed-keys.html).
# - Kool, van Hoof and Welling, [Stochastic beams and where to find them](https://arxiv.org/abs/1903.06059) (2019), on the Gumbel trick for k choices. Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy as 1, 2, 3* (2011), describes Threefry. Massart, *The tight constant in the Dvoretzky–Kiefer–Wolfowitz inequality* (1990).
#
# ## Previous and next
#
# Lesson 04 put loops into the program. Your ensemble is still initialised in a Python loop, and your walkers need an elementwise density. In lesson 06 `vmap` turns a function of one example into a function of a batch.
