"""From a study on its native grid to a result on the same grid."""
