"""Where batches come from: prepared datasets, augmentation on the device, synthetic heads."""
