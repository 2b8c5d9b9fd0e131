"""AnimateLCM to a model folder: an SD1.5 base, the motion module and the LoRA in; ONNX graphs without torch out.

    animup export animatelcm --base FOLDER_OR_SAFETENSORS --motion AnimateLCM_sd15_t2v.ckpt \\
        --lora AnimateLCM_sd15_t2v_lora.safetensors --out FOLDER

The folder holds, beside ``manifest.json`` of kind ``animatelcm``:

==================  ====================================================================================
``text.onnx``       ``tokens [1, 77]`` → ``text [1, 77, channels]``
``encode.onnx``     ``image [frames, 3, 8·height, 8·width]`` → ``latents [frames, 4, height, width]``
``denoise.onnx``    ``latents, noise, timestep, signal, spread, next_signal, next_spread, text, mask`` and,
                    with ``--controlnet``, ``residual_0 … residual_12`` → ``next_latents``
``control.onnx``    only with ``--controlnet``: ``latents, timestep, text, image, strength``
                    → ``residual_0 … residual_12``
``decode.onnx``     ``latents`` → ``image``
``denoise_memory.onnx``  unless ``--no-memory``: the denoiser with memory of earlier windows, see below; it has the
                    weights of ``denoise.onnx``
``NAME.weights``    the large tensors of ``NAME.onnx``
``vocab.json``,     the tokenizer, for :class:`vsanimup.networks.animatelcm.tokenizer.Tokenizer`
``merges.txt``
==================  ====================================================================================

All inputs and outputs are float32 whatever the precision inside, only ``tokens`` is int32. The symbolic axes are
``frames``, ``height`` and ``width`` (of latents: multiples of 8, so that an image's sides are multiples of 64), and
``image_height`` and ``image_width`` of images; there is no batch: frames lie on the first axis.

``image`` of encode and decode is RGB in -1..1, and latents include the autoencoder's scaling factor; the encoder gives
the mean of its distribution. ``image`` of control is RGB in 0..1. ``tokens`` are 77 token numbers as the tokenizer
makes them.

One call of ``denoise.onnx`` is one step of LCM at the training timestep ``timestep`` with ᾱ the running product of
1 - β (see :func:`vsanimup.architectures.animatelcm.graphs.alphas`)::

    signal, spread           = sqrt(ᾱ), sqrt(1 - ᾱ)            of this timestep
    next_signal, next_spread = the same of the next timestep, or 1, 0 at the last step, which leaves out the noise

    denoised     = c_skip·latents + c_out·(latents - spread·ε) / signal
    next_latents = next_signal·denoised + next_spread·noise
    c_skip, c_out = 0.25 / (s² + 0.25), s / sqrt(s² + 0.25)    with s = 10·timestep

These five have the shape [1]. ``next_latents`` is linear in ε with everything else the same for every text, so guidance
is ``n + g·(p - n)`` of the ``next_latents`` n and p for the negative and the positive text; g = 1 needs one call only.

``mask [frames, frames]`` is added to the scores of temporal attention: 0 where frame (row) sees frame (column), -10000
where it does not. Blocks on the diagonal part scenes; a frame that only fills up a window sees itself and is seen by
none. Nothing passes between frames that do not see each other (in motion modules nothing else joins frames, see
:class:`vsanimup.architectures.animatelcm.layers.Motion`).

``residual_i`` have the shapes of the states that the base hands across from its down blocks to its up blocks, the last
one that of the middle block; zeros mean no control. ``strength`` [1] scales them.

``denoise_memory.onnx`` takes, beside the denoiser's, ``memory_mask [frames, slots]``, ``slot_order [slots]``,
``frame_order [frames]`` and for each motion module i, in the order in which they run, ``keys_i`` and ``values_i``
``[height, width, slots, 2·channels]`` of both its attentions, one behind the other, and ``scores_i
[height, width, slots]``, with height and width those of the module's pictures. It gives ``next_keys_i``,
``next_values_i`` and ``next_scores_i`` of the same shapes. The manifest's ``memory`` has the channels of every module
and the factor by which its pictures are smaller than latents. Motion modules see the slots, as far as the mask (0 or
-10000) lets a frame, besides the window. Then slots and frames compete for the slots, at every place those with the
largest order + score win, and lie there in this order; an order of 1e6 and more is surely kept, and -1e6 surely not
(:class:`vsanimup.architectures.animatelcm.memory.Memory`, :class:`vsanimup.networks.animatelcm.memory.Carried`).

The first runs at full size are best made on random files, ``python -m benchmarks.animatelcm_files FOLDER``, which
also says how to measure the memory that an export takes.

What the official weights do in these graphs was never tested where this was written, for want of them: it is tested on
random ones of the same layout, against diffusers.
"""
