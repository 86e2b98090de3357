"""Parses an array of NumPy, u8 [h w 3] or for depth [h w 1]; needs jax and flatbuffers alone."""

import argparse
import json
import pathlib

import numpy as np
from jax import export

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("program", type=pathlib.Path, help="NAME.stablehlo, with its record beside it")
parser.add_argument("picture", help="a file .npy")
parser.add_argument("label", help="the file .npy to write: class ids u8 [h w]")
words = parser.parse_args()
record = json.loads(pathlib.Path(f"{words.program}.json").read_text())
program = export.deserialize(bytearray(words.program.read_bytes()))
label = np.asarray(program.call(**dict.fromkeys(record["inputs"], np.load(words.picture)))["label"])
np.save(words.label, label)
for number in np.unique(label):
    print(record["classes"][number]["name"], f"{np.mean(label == number):.1%}")
