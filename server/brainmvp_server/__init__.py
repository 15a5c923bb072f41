"""From a study to a result: imaging, inference and the REST service. Imports no torch."""
