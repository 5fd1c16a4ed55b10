"""Many recordings on disk: store, import with rejects, labels, splits by patient."""
