"""The evaluator: pinned files in, outcomes with a fingerprint out.

A node talks to `client`, which runs `worker` in a child process; the `peerboard` command talks to `local`. Inside the
child, `desk` answers jobs through `evaluation`: `benchmarks` says what is asked and how it is scored, `engine` runs the
questions through llama.cpp (`binding`, `model`, `context`), as `generation` or as `choices`, with the fingerprint's
`tails`. Before anything is loaded, `header` reads what the file says of itself and `memory` computes what it will take.
`artefacts` finds files by their hash, `questions` reads data sets and checks theirs, `cores` keeps evaluators on one
machine out of each other's way.
"""
