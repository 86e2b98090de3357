"""Where batches come from: three readers, augmentation on the device, synthetic heads.

A *prepared dataset* is what `tfds_builders.build` wrote: in its files an *example* is *encoded*,
its photograph, depth and label as JPEG and PNG. *Arrays* are a prepared dataset decoded at one
size. Both are a *source* that a *reader* makes *batches* from, in some *order*, and the renderer
of heads is a third one; the number of an example in its split is its *row* there.
"""

import os

# TensorFlow reads both at import, against lines about the build; no operation here uses oneDNN.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
