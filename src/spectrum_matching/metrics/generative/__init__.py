"""Generation without training: images decoded from latents that closed-form models draw, scored as a model's are."""
