"""What a variant, a gene, a score or a trait does to the ECG."""
