"""Training of the classifier that reads prompts: ``python -m training.prompts``, a few seconds in numpy.

We wrote every sentence: ``phrases.txt`` (what faults and media are called) fills the slots of ``frames.txt`` (what
people say about them) at random, and ``sentences.txt`` holds whole sentences, each word of which is labelled. One word
in twenty is mistyped. ``heldout.tsv`` was written before all of these; ``heldout_second.tsv`` was first scored
when they were done. What is found in either is dropped from training.
"""
