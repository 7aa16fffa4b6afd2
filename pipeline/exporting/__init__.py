"""A trained generator as files that need nothing of this program: ONNX, or safetensors with the steps as JSON.

Knows models and files; no runs and no store. Whatever the architecture, torch writes down what it does.
"""
