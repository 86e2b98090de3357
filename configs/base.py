"""Every key of a run, with the reference recipe's values; the other files start from it."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.seed = 0
    c.devices = 0  # devices in the mesh; 0 = all that JAX sees

    c.data = ConfigDict()
    c.data.name = "celebamask_hq_d"  # a builder in tfds_builders
    c.data.config = "official"  # the builder's config; for CelebAMask-HQ the merge order
    c.data.data_dir = "~/tensorflow_datasets"  # where tfds_builders.build wrote
    c.data.size = 512  # side that images are resized to, in pixels
    c.data.shuffle_buffer = 2048  # undecoded examples held for shuffling; of "tfds"
    c.data.cache = False  # keep the decoded split in memory (small sets); of "tfds"
    c.data.source = "tfds"  # or "arrays": decoded files of faceparse_jax.data.decode, no TensorFlow
    # Shares of the training examples that keep depth and label: nested, by a hash of the id.
    c.data.depth_fraction = 1.0
    c.data.label_fraction = 1.0
    c.data.fraction_seed = 0  # another one, another choice of examples
    # Of the rows of a batch, drawn from the examples that keep depth or label alone.
    c.data.depth_share = 0.0
    c.data.label_share = 0.0

    c.augment = ConfigDict()
    c.augment.crop = 448  # side of the training crop
    c.augment.scales = (0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
    c.augment.flip = 0.5  # probability
    c.augment.rotate = 10.0  # largest angle, degrees
    c.augment.jitter = 0.5  # brightness, contrast, saturation factors from 1 -+ this

    c.model = ConfigDict()
    c.model.backbone = 18  # ResNet-18, 34 or 50
    c.model.width = 1.0  # factor on the parsers' channels
    c.model.depth_channels = 3  # depth enters its parser as 3 equal channels, or 1
    # BatchNorm of real and translated depth, where both teach; or "split".
    c.model.depth_statistics = "shared"
    c.model.translator_features = 64  # of the U-Net's first level
    c.model.translator_dropout = 0.0
    c.model.discriminator_features = 64
    c.model.dtype = "float32"  # of the computation; parameters stay float32; or "bfloat16"

    # Weights of the terms; at 0 a term is not computed and its networks are not made.
    c.loss = ConfigDict()
    c.loss.rgb = 1.0
    c.loss.depth = 1.0
    c.loss.e2e = 1.0  # labels on translated depth: reaches depth parser and translator
    c.loss.mutual = 0.1  # 1 costs both parsers where all have labels (README.md, "Does it work?")
    c.loss.translation = 10.0  # L1 on depth in [-1, 1]
    c.loss.adversarial = 0.0
    c.loss.mutual_kind = "kl"  # or "l2", "pseudo"
    c.loss.temperature = 1.0  # logit temperature of mutual learning; "pseudo" has none
    c.loss.stop_gradient = True  # the teacher of each direction stays fixed
    c.loss.mutual_trust = "always"  # or "confidence", "correct": weight of a teacher's pixels
    c.loss.mutual_where = "frame"  # or "support": pixels where depth shows something
    # Rows drawn by data.depth_share: in "all" terms, or in those of "depth" alone (depth,
    # translation, adversarial), so that a few photographs, seen often, teach nothing else. The
    # other rows then reach the depth parser through the translator, whether they have depth or not.
    c.loss.drawn_rows = "all"
    c.loss.e2e_to_translator = 1.0  # factor on e2e's and mutual's gradient into the translator
    c.loss.mutual_students = "both"  # or "rgb", "depth": only this parser learns by the term
    c.loss.mutual_mean = "classes"  # of the teacher, each counts the same; or "pixels"
    c.loss.mutual_start_step = 0  # before it, the term is 0
    c.loss.mutual_ramp_steps = 0  # the term grows from 0 over its first so many steps
    c.loss.e2e_ramp_steps = 0
    c.loss.e2e_fade_steps = 0  # the term falls to 0 by this step and stays there; 0: never
    c.loss.segmentation_mean = "pixels"  # or "classes": each class of the labels counts the same
    c.loss.auxiliary = 1.0  # weight of the two auxiliary heads
    c.loss.ohem_threshold = 0.7  # pixels below this probability are hard
    c.loss.ohem_min_fraction = 1 / 16  # at least this share of the pixels counts

    c.optim = ConfigDict()
    c.optim.kind = "sgd"  # of the parsers; or "adamw"
    c.optim.rate = 1e-2
    c.optim.momentum = 0.9  # of "sgd"
    c.optim.weight_decay = 5e-4  # kernels only
    c.optim.head_factor = 10.0  # on the rate of the fusion module and the heads
    c.optim.schedule = "poly"  # or "cosine", "constant"
    c.optim.power = 0.9
    c.optim.warmup_steps = 1000
    c.optim.warmup_rate = 1e-5
    c.optim.translator_rate = 2e-4  # Adam
    c.optim.discriminator_rate = 2e-5  # Adam

    c.train = ConfigDict()
    c.train.steps = 80_000
    c.train.batch = 16  # over all devices
    c.train.ema = 0.0  # decay of the running average of parameters; 0 = off
    c.train.translator_from = ""  # workdir whose translator is used, frozen

    c.eval = ConfigDict()
    c.eval.every = 2000  # steps between evaluations on the validation split
    c.eval.batch = 16
    c.eval.label_size = 512  # side at which scores are counted; 0 = data.size, -1 = original
    # Of --mode evaluate alone; training always scores its own "validation" split.
    c.eval.split = "test"
    c.eval.dataset = ""  # NAME/CONFIG, several with commas, or NAME/*; "" = the run's own
    c.eval.flip = False  # average with the prediction for the mirror image
    c.eval.boundary_tolerance = 2  # of the boundary F1, in pixels of the label; -1 = none
    c.eval.pictures = 8  # examples on the picture

    c.log = ConfigDict()
    c.log.every = 50  # steps
    c.log.pictures_every = 2000

    c.checkpoint = ConfigDict()
    c.checkpoint.every = 1000  # steps
    c.checkpoint.keep = 2  # latest ones; the best one is kept besides
    c.checkpoint.best = ""  # route whose mean F1 chooses the best; "" = fusion, rgb, depth
    return c
