"""PyTorch's side of benchmarks/step.py and benchmarks/gpu.py, in an environment of its own.

    python torch_step.py TASK

TASK is a JSON object. ``{"do": "weights", "side": 128, "file": F}`` writes fresh weights of the
three networks as an .npz file, in PyTorch's layout. The other tasks begin with those weights:

* ``"do": "step"`` is the joint training step: two parsers (BiSeNet with ResNet-18) and the
  translator (the U-Net of pix2pix), the terms and the optimisers of faceparse_jax's full system,
  with mutual learning averaged over the teacher's classes. It has ``side``, ``batch``, ``dtype``,
  ``device``, ``weights``, ``memory_format`` and ``compile``, a backend of torch.compile or "".
* ``"do": "photo"`` is the RGB parser on one photograph, from u8 to probabilities. It has
  ``memory_format`` and ``runtime``: eager, compile or onnxruntime.

Once the first call is done the program prints a line of JSON: its seconds, the number of
parameters, and numbers by which the caller sees that both sides compute the same. Then it
reads how many calls to time from each line of its input, and prints a line with their seconds,
after one call that does not count.

Nothing of faceparse_jax is imported here. Pictures are normalised in the step, and not augmented.
Logits are float32 when they are enlarged, and so are the losses, as on the other side.
"""

import contextlib
import io
import json
import math
import resource
import sys
import time
from importlib import metadata

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch_networks import CLASSES, Networks

THRESHOLD, LEAST = -math.log(0.7), 1 / 16  # of hard examples: the loss, and the share of pixels
FLOOR = 1e-3  # a class of a smaller share counts in proportion
MUTUAL, TRANSLATION = 0.1, 10.0
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RATE, HEAD_FACTOR, TRANSLATOR_RATE = 1e-3, 10.0, 2e-4


def cross_entropy_of_hard_pixels(logits, label):
    """Over the pixels of probability below 0.7, and over a sixteenth of the pixels at least."""
    loss = F.cross_entropy(logits, label, reduction="none").flatten()
    least = math.ceil(LEAST * loss.numel())
    cut = torch.topk(loss.detach(), least, sorted=False).values.min().clamp(max=THRESHOLD)
    hard = (loss.detach() >= cut).float()
    return (loss * hard).sum() / hard.sum()


def segmentation(heads, label):
    return sum(cross_entropy_of_hard_pixels(head, label) for head in heads)


def divergence(student, teacher):
    """KL by which the student learns: the mean of the means over the teacher's classes."""
    teacher = teacher.detach()
    per_pixel = (teacher.exp() * (teacher - student)).sum(1).flatten()
    classes = teacher.argmax(1).flatten()
    count = (classes[:, None] == torch.arange(CLASSES, device=classes.device)).sum(0)
    share = 1 / count.clamp(min=FLOOR * classes.numel())
    return (per_pixel * share[classes]).sum() / (count > 0).sum()


def terms(networks, image, depth, label):
    """The five terms of the full system, by name."""
    mean, std = (torch.tensor(x, device=image.device).view(1, 3, 1, 1) for x in (MEAN, STD))
    image, depth = (image.float() / 255 - mean) / std, depth.float() / 127.5 - 1
    rgb, translated = networks.rgb(image), networks.translator(image)
    heads = networks.depth(torch.cat([depth, translated]).repeat(1, 3, 1, 1))
    real, fake = zip(*(head.chunk(2) for head in heads), strict=True)
    ours, other = (F.log_softmax(logits, 1) for logits in (rgb[0], real[0]))
    return {
        "rgb": segmentation(rgb, label),
        "depth": segmentation(real, label),
        "e2e": segmentation(fake, label),
        "mutual": divergence(ours, other) + divergence(other, ours),
        "translation": (translated - depth).abs().mean(),
    }


def total(found):
    weights = {"mutual": MUTUAL, "translation": TRANSLATION}
    return sum(weights.get(name, 1.0) * value for name, value in found.items())


def optimisers(networks):
    """SGD for the parsers, its rate ten times as large for fusion and heads; Adam for the U-Net."""
    groups = {}
    for parser in (networks.rgb, networks.depth):
        for name, value in parser.named_parameters():
            key = (name.startswith(("ffm", "conv_out")), value.ndim == 4)
            groups.setdefault(key, []).append(value)
    groups = [
        {"params": values, "lr": RATE * (HEAD_FACTOR if head else 1), "weight_decay": decay * 5e-4}
        for (head, decay), values in groups.items()
    ]
    sgd = torch.optim.SGD(groups, lr=RATE, momentum=0.9, fused=True)
    adam = torch.optim.Adam(
        networks.translator.parameters(), TRANSLATOR_RATE, (0.5, 0.999), fused=True
    )
    return sgd, adam


def load(task):
    """The networks with the task's weights, on its device and in its memory format."""
    networks = Networks(task["side"])
    with np.load(task["weights"]) as arrays:
        state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    networks.load_state_dict(state)
    return networks.to(task["device"]).to(memory_format=memory_format(task))


def memory_format(task):
    return getattr(torch, task["memory_format"])


def batch_of(task):
    """The arrays that benchmarks/jax_step.py makes of the same numbers."""
    side, rows = task["side"], task["batch"]
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, CLASSES, (rows, side // 16, side // 16, 1), np.uint8)
    classes = blocks.repeat(16, 1).repeat(16, 2)
    shade = rng.integers(0, 100, (rows, 1, 1, 3), np.uint8)
    image = 5 * classes + shade + rng.integers(0, 60, (rows, side, side, 3), np.uint8)
    depth = 5 * classes + shade[..., :1] + rng.integers(1, 60, (rows, side, side, 1), np.uint8)
    label = torch.from_numpy(classes[..., 0]).long().to(task["device"])
    pictures = (torch.from_numpy(x).permute(0, 3, 1, 2).contiguous() for x in (image, depth))
    image, depth = (
        x.to(task["device"]).contiguous(memory_format=memory_format(task)) for x in pictures
    )
    return image, depth, label


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def serve(task, call, numbers, answers, parameters):
    """Prints what the first calls were like, then times as many calls as each line asks for.

    Args:
        call: does the work once.
        numbers: what the caller compares, of that which `call` returned.
        answers: so many calls are compared, from the first one on.
    """
    start = time.perf_counter()
    found = call()
    wait(task["device"])
    reply = {"first_s": time.perf_counter() - start, "parameters": parameters}
    reply["answers"] = [numbers(found)] + [numbers(call()) for _ in range(answers - 1)]
    reply["version"] = f"torch {torch.__version__}"
    if task.get("runtime") == "onnxruntime":
        reply["version"] = f"onnxruntime {metadata.version('onnxruntime')}"
    print(json.dumps(reply), flush=True)
    for line in sys.stdin:
        call()
        wait(task["device"])
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            call()
            wait(task["device"])
            seconds.append(time.perf_counter() - start)
        if task["device"] == "cuda":
            peak = torch.cuda.max_memory_allocated()
        else:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "peak_bytes": peak}), flush=True)


def step(task):
    networks = load(task).train()
    batch = batch_of(task)
    both = optimisers(networks)
    autocast = torch.autocast(task["device"], torch.bfloat16, task["dtype"] == "bfloat16")

    def forward():
        found = terms(networks, *batch)
        return total(found), {name: value.detach() for name, value in found.items()}

    if task["compile"]:
        forward = torch.compile(forward, backend=task["compile"], dynamic=False)

    def call():
        for optimiser in both:
            optimiser.zero_grad(set_to_none=True)
        with autocast:
            loss, found = forward()
        loss.backward()
        for optimiser in both:
            optimiser.step()
        return found

    def numbers(found):
        return {name: value.item() for name, value in found.items()}

    count = sum(value.numel() for value in networks.parameters())
    serve(task, call, numbers, 3, count)


class Photo(nn.Module):
    """From a photograph u8 [1 h w 3] to probabilities [1 k h w]."""

    def __init__(self, parser, memory_format):
        super().__init__()
        self.parser, self.memory_format = parser, memory_format
        for name, numbers in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(numbers).view(1, 3, 1, 1), persistent=False)

    def forward(self, photo):
        image = (photo.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        image = image.contiguous(memory_format=self.memory_format)
        return F.softmax(self.parser(image, auxiliary=False), 1)


def photo(task):
    networks = load(task).eval()
    network = Photo(networks.rgb, memory_format(task)).to(task["device"])
    image = batch_of(task)[0].permute(0, 2, 3, 1).contiguous()
    if task["runtime"] == "onnxruntime":
        run = exported(network, image)
    else:
        run = torch.compile(network) if task["runtime"] == "compile" else network

    @torch.inference_mode()
    def call():
        return run(image)

    def numbers(probabilities):
        return {str(k): p.mean().item() for k, p in enumerate(probabilities[0])}

    count = sum(value.numel() for value in networks.rgb.parameters())
    serve(task, call, numbers, 1, count)


def exported(network, image):
    """The network as ONNX Runtime runs it."""
    import onnxruntime

    file = io.BytesIO()
    with contextlib.redirect_stdout(sys.stderr):  # where the exporter may say what it likes
        torch.onnx.export(network, (image,), dynamo=True, verbose=False).save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: image.numpy()}
    return lambda _: torch.from_numpy(session.run(None, inputs)[0])


def weights(task):
    torch.manual_seed(0)
    networks = Networks(task["side"])
    for value in networks.translator.parameters():
        if value.ndim == 4:
            nn.init.normal_(value, 0.0, 0.02)
    state = {name: value.numpy() for name, value in networks.state_dict().items()}
    np.savez(task["file"], **state)


if __name__ == "__main__":
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")  # as XLA multiplies float32 on a GPU
    chosen = json.loads(sys.argv[1])
    {"weights": weights, "step": step, "photo": photo}[chosen["do"]](chosen)
