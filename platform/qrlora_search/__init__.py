"""QR-LoRA architecture search: how few trained parameters does a task need?"""
