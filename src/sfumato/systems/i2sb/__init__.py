"""I²SB: Schrödinger bridges that restore pictures (arXiv 2302.05872); see docs/i2sb.md."""
