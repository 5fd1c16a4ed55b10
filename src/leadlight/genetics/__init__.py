"""What genes do to the ECG: genotypes, covariates, association, and what carries them."""
