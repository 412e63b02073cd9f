"""The subcommands of `sample.py`, each with its options, its records and its computation.

Every picture to be made is first a record (`pipelines.records`) that says all there is to know; a
`Kind` (`make.py`) computes the pictures of records of one setting. `sample_command.py` is the
parser and knows which subcommand is which module's.
"""
