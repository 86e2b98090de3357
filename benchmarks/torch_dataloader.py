"""PyTorch's side of benchmarks/pipeline.py: DataLoader with Pillow, in its own environment.

    python torch_dataloader.py FOLDER SIZE BATCH BATCHES_PER_WINDOW DISCARD WORKERS

FOLDER holds N_image.jpg, N_depth.png and N_label.png. For each line on its input it prints
the images per second of one window.
"""

import pathlib
import sys
import time

import numpy as np
import torch
from PIL import Image


class Files(torch.utils.data.Dataset):
    """Image, depth and label at one size, as uint8."""

    def __init__(self, folder, size):
        self.images = sorted(pathlib.Path(folder).glob("*_image.jpg"))
        self.size = (size, size)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        path = str(self.images[index])
        image = Image.open(path).convert("RGB").resize(self.size, Image.BOX)
        rest = (
            Image.open(path.replace("_image.jpg", f"_{key}.png")).resize(self.size, Image.NEAREST)
            for key in ("depth", "label")
        )
        return [torch.from_numpy(np.array(picture)) for picture in (image, *rest)]


def main():
    folder, size, batch, per_window, discard, workers = sys.argv[1], *map(int, sys.argv[2:])
    loader = torch.utils.data.DataLoader(
        Files(folder, size), batch, shuffle=True, num_workers=workers, drop_last=True
    )

    def endless():
        while True:
            yield from loader

    batches = endless()
    for _ in sys.stdin:
        for _ in range(discard):
            next(batches)
        begin = time.perf_counter()
        for _ in range(per_window):
            next(batches)
        print(per_window * batch / (time.perf_counter() - begin), flush=True)


if __name__ == "__main__":
    main()
