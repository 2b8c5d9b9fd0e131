"""Whole films: chunks of a script's clip, encoded anywhere and in any order, joined to the same bytes.

From the bottom up: :mod:`y4m` and :mod:`frame_server` run in a process of their own and feed an encoder
(:mod:`chunk_encoders`); :mod:`child` is this process's end of that one; :mod:`chunk` makes one chunk whole;
:mod:`journal` remembers which are made; :mod:`local` and :mod:`cluster` make many; :mod:`mux` joins them, with what the
source has beside its pictures; :mod:`film` does all of it in turn.
"""
