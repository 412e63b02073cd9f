"""Losses and similarities seen through frozen networks: CLIP for what, ArcFace for who."""
