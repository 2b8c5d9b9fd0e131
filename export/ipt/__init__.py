"""IPT (arXiv 2012.00364) to a model folder of kind ``image``, see :mod:`vsanimup.networks.image.network`.

``animup export ipt --checkpoint IPT_sr2.pt --task x2 --out FOLDER``

The folder holds ``network.onnx``, ``image [batch, 3, 48, 48]`` → ``result``, RGB in 0..1 whatever the range inside, and
its large tensors in ``network.weights``.
"""
