"""Frames to latents: made-up street clips, frame sources, the encoder, and the small autoencoder's training."""
