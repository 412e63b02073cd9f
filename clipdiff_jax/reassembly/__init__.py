"""Reassembly: pieces of pictures, or fragments of solids, put together by denoising their poses."""
