"""The networks: BiSeNet parsers, the pix2pix translator and its discriminator."""
