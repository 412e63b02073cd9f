"""The mathematics of diffusion: schedules, predictions, guidance, samplers, inversion, losses.

Everything here is a pure function of arrays and knows neither Flax nor any particular network.
The one contract is `Denoise = (x_t, t, cond) -> Prediction(x0, eps)`.
"""
