"""What a script author sees: arguments in, a graph of VapourSynth nodes out."""
