"""The rules of Peerboard, and nothing else.

Everything that decides anything (validity, assignment, quorum, quota, credit, ranking) lives here. These modules do
no I/O, read no clock and draw no random number; they import nothing else of the project. Read in this order:

=======================  ================================================================================
module                   one idea
=======================  ================================================================================
`rejections`             every reason to refuse a message or to void a log entry
`cbor`                   values as deterministic bytes and back
`cbor_reading`           how bytes are read strictly: one reader for each type
`hashing`                digests with a domain tag
`signing`                Ed25519, one exact predicate
`stamps`                 work stamps: what a profile without attestation costs
`parameters`             the network's numbers, `MAIN` and `DEMO`
`definitions`            what is pinned: files, models, benchmarks
`genesis`                one file that fixes a network
`failures`               why a task could not be evaluated
`messages`               what can be said
`envelope`               a signed message
`texts`                  what is kept beside the log, so that it can be deleted
`epochs`                 marks, beacon, ground
`tasks`                  what is due, and the order of the questions
`pools`                  who may evaluate a base model
`runners`                who is asked for one task, in which rank
`plan`                   an epoch's work, derived from what its mark left behind
`transcripts`            what was asked and answered, kept for audits
`cliques`                the largest sets of a graph in which every two are joined
`fingerprint`            the proof that a model read these questions in this hour
`distances`              how far fingerprints lie apart, for many at once
`agreement`              which fingerprints agree pairwise, with less work
`opening`                the digest that a result opens, from its envelope's bytes
`counting`               the four rules that turn a set of messages into a verdict
`lifecycle`              the states of a task, as a table
`gathering`              what runners said in one epoch, as sets
`table`                  records with a digest that is cheap to bring up to date
`standings`              what is known of one model on one benchmark
`state`                  the fold of a log prefix
`successions`            who may write the log
`ledger`                 how each entry changes the state
`people`                 accounts, their devices, and who is behind them
`closing`                what a mark does to the epochs that it closes
`examinations`           audits and appeals
`audits`                 what they put on record about the runners whose results they look at
`tiers`                  what an account may do beyond evaluating
`quota`                  earn your submit
`governance`             proposals and ballots
`ratings`                stars, beside the scores
`overlay`                what is known beyond the log: provisional, read by no rule
`scores`                 the leaderboard
`merkle`                 the log's tree: roots, inclusion and consistency proofs
`tiles`                  the log as static files
`notes`                  signed notes: text and the signatures of named keys
`checkpoint`             what the log says it holds, cosignatures, forks
`witnesses`              keys that say when they saw a mark
`receipts`               the log's promise to include an envelope
`evidence`               what is shown to strangers: forks, omissions, marks that are wrong
`evidence_checks`        what evidence proves
`snapshot`               what is published at a mark, and for how long it holds
`reconciliation`         two peers find out which messages each lacks
`reconciliation_format`  its bytes
`tables`                 the specification's tables, made from all this
=======================  ================================================================================
"""
