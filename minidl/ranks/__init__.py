"""Training on many processes, the ranks of MPI, in the same bits on any number of them.

    batch -> shards: how many is a setting, whatever the number of ranks; each shard's gradient is computed alone
    gradients of shards -> their sum, in one binary tree, within a rank as across ranks
    the same sum on every rank -> the same update on every rank

Floating-point addition is not associative: a sum depends on the tree. Here the tree depends on the number of shards
alone, and ranks only decide where its nodes are computed.

    shards.py   what part of a batch a shard is, and the random streams it draws from
    tree.py     the additions, and who does them
    bucket.py   gradients side by side in flat arrays, added up as the tree says
    buffers.py  running statistics and other state of the model, which each shard changes alone
    step.py     one training step on shards
    lockstep.py shards that meet on the way, for statistics of the whole batch, or steps that the loss takes itself
    group.py    the ranks: who is there, sending and receiving; one process alone is a group of one
    agreement.py  what all ranks must have alike, compared before they train
    news.py     what ranks hear of each other while they wait, and how long they wait
    failure.py  how the programs of all ranks end when that of one does
    watch.py    a process beside the ranks of a host, which says that one was killed
"""
