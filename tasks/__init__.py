"""Complete tasks: ``python -m tasks`` lists them, ``python -m tasks NAME`` runs one.

A task is a package in this folder, and says what is its own: settings (a frozen dataclass, from which its options,
their help and their checks follow), a model, batches, a loss, an evaluation and a report. What all tasks share is here:

    options.py  options out of settings           frame.py    from a command line to settings, data, network, report
    run.py      the folder of a run, training in it, resuming it, contradictions, weights
    command.py  kinds of numbers, progress        tiles.py    a network on an image of any size
    plot.py     figures                           faults.py   what is wrong with a user's data
    grids.py    classical methods, tuned          models/     the networks that several tasks use
    ranks.py    several processes that train together

What several processes do differently is decided here, too: all of them read data and train, by `Job.fit`, whose batches
are `data.RandomBatches` so that each makes its own shards alone; the first one prints, writes and reports, by
`minidl.ranks.share.on_first`.

``cli.py`` of a task fills in the frame, `frame.Task`; ``train.py`` has its settings, its loss and its training.
"""
