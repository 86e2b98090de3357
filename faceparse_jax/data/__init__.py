"""Where batches come from: prepared datasets, augmentation on the device, synthetic heads."""

import os

# TensorFlow reads both at import, against lines about the build; no operation here uses oneDNN.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
