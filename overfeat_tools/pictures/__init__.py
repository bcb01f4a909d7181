"""From bytes to pictures: the PNM parser, decoders of picture files, fitting, reading and batching."""
