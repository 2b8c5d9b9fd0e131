"""Networks from one picture to one: of other projects as ONNX files, and IPT."""
