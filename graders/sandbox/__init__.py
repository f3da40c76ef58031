"""Where students' code runs in grading: a process that can reach nothing and spoil nothing.

`bubblewrap` makes the room, `zygote` waits in it with JAX imported, `confinement` and `seccomp`
lock each student's process in by itself, and `process` is what the trusted side holds of it.
"""
