"""One recording: lead algebra, file formats, filtering, resampling, R peaks, quality."""
