"""The metrics that summaries show; a metric that only the full tables show is not listed here."""

MAIN_METRICS = {
    "psnr": "PSNR",
    "exponent": "exponent",
    "best_delta": "best delta",
    "gap_scale_free_1": "gap at delta 1",
    "sec_25": "SEC",
    "lowpass_gap": "low-pass gap",
    "noise_psnr": "noise PSNR",
    "equivariance_scale_50": "scale error",
}
"""The metrics that summaries show, with titles short enough for headings."""
