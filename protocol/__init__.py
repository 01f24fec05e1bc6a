"""The rules of Peerboard, and nothing else.

Everything that decides anything (validity, assignment, quorum, quota, credit, ranking) lives here. These modules do
no I/O, read no clock and draw no random number; they import nothing else of the project. Read in this order:

==============  ======================================================================================
module          one idea
==============  ======================================================================================
`cbor`          values as deterministic bytes and back
`cbor_reading`  how bytes are read strictly: one reader for each type
`rejections`    every reason to refuse a message or to void a log entry
`hashing`       digests with a domain tag
`signing`       Ed25519, one exact predicate
`definitions`   what is pinned: files, models, benchmarks
`parameters`    the network's numbers, `MAIN` and `DEMO`
`genesis`       one file that fixes a network
`envelope`      a signed message
`messages`      what can be said
`texts`         what is kept beside the log, so that it can be deleted
`epochs`        marks, beacon, ground
`tasks`         what is due, and the order of the questions
`pools`         who may evaluate a base model
`runners`       who is asked for one task, in which rank
`fingerprint`   the proof that a model read these questions in this hour
`counting`      the four rules that turn a set of messages into a verdict
`lifecycle`     the states of a task, as a table
`state`         the fold of a log prefix
`ledger`        how each entry changes the state
`overlay`       what is known beyond the log: provisional, read by no rule
`scores`        the leaderboard
==============  ======================================================================================
"""
