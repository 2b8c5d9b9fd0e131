"""Checkpoints in, model folders out: PyTorch to ONNX, one file a model family. Needs the extra ``[export]``."""
