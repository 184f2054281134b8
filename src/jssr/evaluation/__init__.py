"""Systems and peers on the pairs of a cohort, measured alike."""
