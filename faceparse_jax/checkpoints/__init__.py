"""What a run carries from step to step, how it is saved, and how a trained run is opened."""
