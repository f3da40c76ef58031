"""Where students' code runs in grading: a process that can reach nothing and spoil nothing.

`bubblewrap` makes the sandbox, `zygote` waits in it with JAX imported, `confinement` and `seccomp`
confine each student's process by itself to its `limits`, and `process` is what the trusted side
holds of it.
"""
