"""Results as their users get them: summary, files, pictures, report, DICOM objects."""
