"""From arrays to the bytes that are printed: rankings of classes, maps of values, tables for people."""
